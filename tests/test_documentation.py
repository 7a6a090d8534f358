"""Pages that list what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from ferjax.emotions import ORDERS
from ferjax.nets.layers import VOCABULARY

DOCS = Path(__file__).parents[1] / "docs"


def test_all_layers_are_listed() -> None:
    page = (DOCS / "keras.md").read_text(encoding="utf-8")
    table = page[page.index("## Layers") : page.index("The `activation` of a layer")]
    listed = re.findall(r"\b[A-Z]\w+", table.removeprefix("## Layers"))
    assert len(set(listed)) == len(listed)
    # What is read as another layer: Keras's classes without one of their own.
    assert set(listed) - set(VOCABULARY) == {
        "ThresholdedReLU",
        "StochasticDepth",
        "CustomScaleLayer",
    }
    assert set(VOCABULARY) <= set(listed)


def test_all_orders_are_listed() -> None:
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    for order in ORDERS:
        assert f"\n| `{order}` | " in page
