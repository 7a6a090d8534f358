"""Pages made of what ferjax has: its recipes, its weights, its commands' help, its benchmarks."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ferjax import metadata, released
from ferjax.cli.main import build_parser
from ferjax.data.augmentation import PRESETS
from ferjax.train.recipes import NAMED, RECIPES, NamedRecipe, Recipe, differences

CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
BENCHMARKS = CHECKPOINTS.with_name("benchmarks")
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
    """Return what each recipe is, every field in which they differ, and what each has reached."""
    values = {named.recipe.name: flat(named.recipe) for named in NAMED}
    fields = next(iter(values.values()))
    different = [key for key in fields if len({of[key] for of in values.values()}) > 1]
    return "\n".join(
        [
            table(
                ["recipe", "what it is"],
                [
                    [
                        f"[`{named.recipe.name}`](#{named.recipe.name})",
                        re.sub(r"--\w+", r"`\g<0>`", named.summary),
                    ]
                    for named in NAMED
                ],
            ),
            "The fields in which they differ; `ferjax train --print-recipe` prints all.\n",
            table(
                ["field", *(f"`{name}`" for name in values)],
                [[f"`{key}`", *(of[key] for of in values.values())] for key in different],
            ),
            *map(section, NAMED),
        ]
    )


def section(named: NamedRecipe) -> str:
    """Return where a recipe comes from, what it has reached, and the command that trains it."""
    measured = named.measured or "Nothing was measured yet."
    return (
        f"## {named.recipe.name}\n\n{named.source}\n\n{measured}\n\n"
        f"```console\n$ {named.command}\n```\n"
    )


def flat(recipe: Recipe) -> dict[str, str]:
    """Return each field as text, the augmentation by the nearest preset and what differs of it."""
    fields = recipe.to_json()
    own = fields.pop("augmentation")
    del fields["name"]

    def changed(preset: str) -> list[str]:
        return [key for key, value in own.items() if value != getattr(PRESETS[preset], key)]

    nearest = min(PRESETS, key=lambda preset: len(changed(preset)))
    changes = [f"{key} {shown(own[key])}" for key in changed(nearest)]
    texts = {key: shown(value) for key, value in fields.items()}
    return {**texts, "augmentation": ", ".join([nearest, *changes])}


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
    majority = "majority of people, PublicTest"
    header = [
        "weights",
        majority,
        f"{majority}, uniform prior",
        *("label, PublicTest", "label, PrivateTest"),
    ]
    asked: tuple[dict[str, str], ...] = (
        {"labels": MAJORITY},
        {"labels": MAJORITY, "prior": "uniform"},
        {},
        {"dataset": "FER2013 PrivateTest"},
    )
    accuracies: tuple[list[list[str]], ...] = ([], [])
    files = []
    for path in sorted(CHECKPOINTS.glob("*.h5"), key=order):
        known = metadata.read(path)
        cells = [accuracy(known, **wanted) for wanted in asked]
        for rows, part in zip(accuracies, zip(*cells, strict=True), strict=True):
            rows.append([f"`{path.stem}`", *part])
        files.append(
            [
                f"`{path.name}`",
                f"{known['architecture']}, {known['parameters']:,} parameters",
                f"[`{(trained := recipe_of(known))}`](recipes.md#{trained})",
                f"{known['trained_on']['data']}, {known['trained_on']['images']:,} images",
                known["licence"],
                f"`{known['sha256']}`",
            ]
        )
    return "\n".join(
        [
            "A single view of each image, as measured and stored with the weights:\n",
            table(header, accuracies[0]),
            "The same without exact copies of training images:\n",
            table(header, accuracies[1]),
            table(["file", "network", "recipe", "trained on", "licence", "SHA-256"], files),
        ]
    )


def recipe_of(known: Mapping[str, Any]) -> str:
    """Return the name of the recipe by which weights were trained, whatever it was called then."""
    trained = Recipe.from_json(known["training"]["recipe"])
    for name, recipe in RECIPES.items():
        if {text.partition(":")[0] for text in differences(trained, recipe)} <= {"name", "seed"}:
            return name
    return trained.name


def order(path: Path) -> tuple[int, str]:
    """Sort the default first, then what is installed, then the rest."""
    names = released.NAMES
    return (names.index(path.stem) if path.stem in names else len(names), path.stem)


def accuracy(known: Mapping[str, Any], **wanted: str) -> tuple[str, str]:
    """Return what was measured of single views, of all images and without copies."""
    wanted = {"dataset": "FER2013 PublicTest", "view": "single", **wanted}
    keys = ("dataset", "view", "labels", "prior")
    measured = [a for a in known["accuracy"] if all(a.get(key) == wanted.get(key) for key in keys)]
    if not measured:
        return "", ""
    texts = []
    for of in measured:
        text = f"{100 * of['top_1']:.2f} % ({of['correct']:,} of {of['images']:,})"
        texts.append(
            text + (f", balanced {100 * of['balanced']:.2f} %" if "balanced" in of else "")
        )
    whole, without_copies = texts
    return whole, without_copies


# --- commands ------------------------------------------------------------------------------------


def commands() -> str:
    """Return the help of every command."""
    os.environ.update(COLUMNS="90", NO_COLOR="1")
    helps = helps_of(build_parser())
    return "\n".join(f"## {name}\n\n```text\n{text}```\n" for name, text in helps)


def helps_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield the name and the help of each command, but for those that only have others in them."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for command in (command for action in inner for command in action.choices.values()):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            command.parse_args(["--help"])  # options are added when a command is called
        within = list(helps_of(command))
        yield from within or [(command.prog, printed.getvalue())]


# --- benchmarks ----------------------------------------------------------------------------------


def benchmarks(folder: Path = BENCHMARKS) -> str:
    """Return the table of each machine on which parts of the suite were measured."""
    sys.path.append(str(CHECKPOINTS.with_name("scripts")))
    comparison, parts = (
        importlib.import_module(f"benchmarks.{name}") for name in ("comparison", "parts")
    )
    machines = {path.parent for path in folder.glob("*/*.json")}
    texts = []
    for machine in sorted(machines):
        with contextlib.suppress(parts.PartError):  # another file
            texts.append(f"## {machine.name}\n\n{comparison.of_folder(machine)}\n")
    return "\n".join(texts) or "No part of the suite is stored yet.\n"
