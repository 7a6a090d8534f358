"""Numbers and colours that the page's scripts share with Python stand in both, and are the same."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import pytest

from ferjax.faces import marks
from ferjax.faces.detection import MIN_SCORE
from ferjax.pictures.palette import in_hex
from ferjax.web.site import PAGE

# A script, the module that it computes as, and those of its constants that are its own.
SHARED = [
    ("own_look.js", "ferjax.faces.own_look", ""),
    ("looks.js", "ferjax.faces.yunet", ""),
    ("yunet.js", "ferjax.faces.yunet_network", "SCORE"),
    ("detect.js", "ferjax.faces.detection", "SAME"),
    ("crop.js", "ferjax.faces.cropping", ""),
    ("image.js", "ferjax.image_files", "PART"),
]


def constants(name: str) -> dict[str, Any]:
    """Return the constants of a script by name; their values are written as Python writes them."""
    text = (PAGE / name).read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    known: dict[str, Any] = {"true": True, "false": False, "fround": float}
    for constant, value in re.findall(
        r"^(?:export )?const ([A-Z][A-Z_]*) = (.*?);", text, re.M | re.S
    ):
        quoted = re.sub(r"^  (\w+):", r'"\1":', value, flags=re.M)
        known[constant] = eval(quoted, {}, known)
    return {name: value for name, value in known.items() if name.isupper()}


def as_lists(value: Any) -> Any:
    """Return tuples as lists, as scripts have them."""
    return [as_lists(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(("script", "module", "own"), SHARED)
def test_numbers(script: str, module: str, own: str):
    stated = constants(script)
    known = vars(import_module(module))
    shared = {name: value for name, value in stated.items() if name not in own.split()}
    assert shared and shared == {name: as_lists(known.get(name)) for name in shared}


def test_colours():
    palette = constants("ui/palette.js")
    assert palette["BY_NAME"] == {name: in_hex(c) for name, c in marks.COLOURS.items()}
    assert palette["CYCLE"] == [in_hex(colour) for colour in marks.CYCLE]
    assert palette["INK"] == in_hex(marks.INK)


def test_the_score_that_a_face_needs_at_first():
    markup = (PAGE / "index.html").read_text(encoding="utf-8")
    (value,) = re.findall(r'id="min-score"[^>]* value="([\d.]+)"', markup)
    assert float(value) == MIN_SCORE
