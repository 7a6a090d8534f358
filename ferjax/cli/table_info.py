"""Show what a table of what was predicted holds: `ferjax data info` of such a table."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from ferjax.cli.progress import reported
from ferjax.errors import FerjaxError, printable

if TYPE_CHECKING:
    from ferjax.prediction_tables.examples import Examples

_NAMED = 20  # photographs that cannot be used, named on stderr
_OF_DATASETS = (
    "augment skip_bad classes_level labels find_faces several min_score min_size votes disagreement"
).split()


def run(args: argparse.Namespace) -> int:
    """Print what a table holds; draw examples of its faces where --sheet asks for some."""
    from ferjax import prediction_tables
    from ferjax.pictures import sheet
    from ferjax.prediction_tables import text

    _check(args)
    if args.sheet:
        sheet.check_path(args.sheet)  # before reading, which takes a while
    examples = None
    with reported() as progress:
        table = prediction_tables.opened(args.source, progress=progress)
        if args.sheet:
            from ferjax.prediction_tables.examples import Examples

            examples = Examples(table, seed=args.seed or 0)
        look = None if examples is None else examples.look
        summary = prediction_tables.summarize(table, look=look, progress=progress)
    if args.json:
        print(json.dumps(summary.to_json(), indent=2, allow_nan=False))
    else:
        print("\n".join(text.lines(summary)))
    return 0 if examples is None else _draw(examples, args)


def _check(args: argparse.Namespace) -> None:
    """Raise for options that are for datasets."""
    from ferjax.filesystems import shown

    given = [name for name in _OF_DATASETS if getattr(args, name) not in (None, False)]
    if args.split != "official":
        given.append("split")
    if given:
        option = given[0].replace("_", "-")
        raise FerjaxError(
            f"{shown(args.source)}: a table of what was predicted, and --{option} is for datasets"
        )
    if args.seed is not None and not args.sheet:
        raise FerjaxError("--seed decides which faces --sheet shows: give --sheet FILE.png too")


def _draw(examples: Examples, args: argparse.Namespace) -> int:
    try:
        problems = examples.draw(args.sheet)
    except FerjaxError as error:  # what was counted stands above
        print(f"ferjax: error: {error}", file=sys.stderr)
        return 1
    for problem in problems[:_NAMED]:
        print(f"ferjax: error: {problem}", file=sys.stderr)
    if len(problems) > _NAMED:
        print(f"ferjax: error: ... and {len(problems) - _NAMED:,} more", file=sys.stderr)
    if not args.json:
        print(printable(f"sheet:      {args.sheet}"))
    return 1 if problems else 0
