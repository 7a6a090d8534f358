"""Pages made of what ferjax has: its recipes, its weights, the help of its commands."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ferjax import metadata, released
from ferjax.cli.main import build_parser
from ferjax.cli.train import _RECIPES
from ferjax.data.augment import PRESETS
from ferjax.train.recipes import RECIPES

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
MAJORITY = "majority of people, 7 classes"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown.

    >>> table(["a", "b"], [["1", "2"]])
    '| a | b |\\n|---|---|\\n| 1 | 2 |\\n'
    """
    lines = [f"| {' | '.join(cells)} |\n" for cells in [header, *rows]]
    lines.insert(1, f"|{'---|' * len(header)}\n")
    return "".join(lines)


# --- recipes -------------------------------------------------------------------------------------


def recipes() -> str:
    """Return what each recipe is, and every field in which they differ."""
    rows = [[f"`{name}`", text] for name, text in _RECIPES.items()]
    values = {name: flat(recipe.to_json()) for name, recipe in RECIPES.items()}
    fields = [key for key in next(iter(values.values())) if key != "name"]
    different = [key for key in fields if len({fields[key] for fields in values.values()}) > 1]
    names = [f"`{name}`" for name in values]
    return "\n".join(
        [
            table(["recipe", "what it is"], rows),
            "The fields in which they differ; `ferjax train --print-recipe` prints all.\n",
            table(
                ["field", *names],
                [[f"`{key}`", *(of[key] for of in values.values())] for key in different],
            ),
        ]
    )


def flat(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return each field as text, the augmentation by the nearest preset and what differs of it."""
    texts = {key: shown(value) for key, value in fields.items() if key != "augmentation"}
    own = fields["augmentation"]

    def differences(preset: str) -> list[str]:
        return [key for key, value in own.items() if value != getattr(PRESETS[preset], key)]

    nearest = min(PRESETS, key=lambda preset: len(differences(preset)))
    changed = [f"{key} {shown(own[key])}" for key in differences(nearest)]
    texts["augmentation"] = ", ".join([nearest, *changed])
    return texts


def shown(value: Any) -> str:
    """Return a value as a person writes it.

    >>> shown(0.0003), shown((0.0, 0.5)), shown(None), shown("adam")
    ('0.0003', '0 to 0.5', 'none', 'adam')
    """
    if isinstance(value, tuple | list):
        return " to ".join(map(shown, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


# --- weights -------------------------------------------------------------------------------------


def weights() -> str:
    """Return the measured accuracy of all released weights, and what is known of each file."""
    paths = sorted(CHECKPOINTS.glob("*.h5"), key=order)
    known = {path: metadata.read(path) for path in paths}
    accuracies, files = [], []
    for path, of in known.items():
        accuracies.append(
            [
                f"`{path.stem}`",
                accuracy(of, labels=MAJORITY),
                accuracy(of, labels=MAJORITY, prior="uniform"),
                accuracy(of),
                accuracy(of, dataset="FER2013 PrivateTest"),
            ]
        )
        files.append(
            [
                f"`{path.name}`",
                f"{of['architecture']}, {of['parameters']:,} parameters",
                f"`{of['training']['recipe']['name']}`",
                f"{of['trained_on']['data']}, {of['trained_on']['images']:,} images",
                of["licence"],
                f"`{of['sha256']}`",
            ]
        )
    majority = "most people, PublicTest"
    return "\n".join(
        [
            table(
                ["weights", majority, f"{majority}, uniform prior", "label, PublicTest", "label, PrivateTest"],
                accuracies,
            ),
            "A single view of each image; balanced accuracy, the mean over classes, where it is said; "
            "last without exact copies of training images.\n",
            table(["file", "network", "recipe", "trained on", "licence", "SHA-256"], files),
        ]
    )


def order(path: Path) -> tuple[int, str]:
    """Sort the default first, then what is installed, then the rest."""
    names = released.NAMES
    return (names.index(path.stem) if path.stem in names else len(names), path.stem)


def accuracy(of: Mapping[str, Any], **wanted: str) -> str:
    """Return what was measured of single views, of all images and without copies."""
    wanted = {"dataset": "FER2013 PublicTest", "view": "single", **wanted}
    keys = ("dataset", "view", "labels", "prior")
    measured = [a for a in of["accuracy"] if all(a.get(key) == wanted.get(key) for key in keys)]
    if not measured:
        return "not measured"
    (whole, without), balanced = measured, "balanced" in measured[0]
    text = f"{whole['top_1']:.2%} ({whole['correct']:,} of {whole['images']:,})"
    text += f", balanced {whole['balanced']:.2%}" if balanced else ""
    text += f"; {without['top_1']:.2%}"
    return text + (f", balanced {without['balanced']:.2%}" if balanced else "")


# --- commands ------------------------------------------------------------------------------------


def commands() -> str:
    """Return the help of every command."""
    os.environ.update(COLUMNS="90", NO_COLOR="1")
    return "\n".join(
        f"## {parser.prog}\n\n```text\n{parser.format_help()}```\n"
        for parser in parsers(build_parser())
    )


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of all commands, without those that only have commands in them."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield parser
    for action in inner:
        for command in action.choices.values():
            yield from parsers(command)


class Table(SphinxDirective):
    """Put the Markdown of a function of this module in the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        text = {"recipes": recipes, "weights": weights, "commands": commands}[self.arguments[0]]()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive `made`: `{made} recipes`."""
    app.add_directive("made", Table)
    return {"parallel_read_safe": True}
