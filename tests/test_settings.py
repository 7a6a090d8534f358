"""Checked fields: what converters return and refuse, and the error that names the field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ferjax import settings
from ferjax.settings import setting


@dataclass(frozen=True, kw_only=True)
class Box:
    width: int = setting(settings.positive_int)
    edges: Any = setting(settings.edges, 0)

    def __post_init__(self) -> None:
        settings.convert_fields(self, lambda name, error: KeyError(f"{name}: {error}"))


def test_fields_are_converted_defaults_too() -> None:
    assert Box(width=3.0) == Box(width=3, edges=((0, 0), (0, 0)))  # type: ignore[arg-type]
    assert Box(width=1, edges=[1, (2, 3)]).edges == ((1, 1), (2, 3))


def test_the_error_names_the_field_and_hides_its_cause() -> None:
    with pytest.raises(
        KeyError, match="edges: expected an integer of at least 0, got -2"
    ) as raised:
        Box(width=1, edges=[1, -2])
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_bounds_hold_for_a_number_and_for_each_of_a_pair() -> None:
    percent = settings.within(settings.real, 0, 100, "a percentage")
    assert (percent(0), percent(100)) == (0.0, 100.0)
    pair = settings.within(settings.pair_of(settings.real, "two numbers"), -1, 1, "shifts")
    assert pair(0.5) == (0.5, 0.5)
    for convert, value, message in (
        (percent, 100.5, "expected a percentage, got 100.5"),
        (percent, "5", "expected a finite number, got '5'"),
        (pair, (0, 2), r"expected shifts, got \(0, 2\)"),
        (settings.positive, 0, "expected a number above 0, got 0"),
        (settings.text, ["x" * 99], r"expected a string, got \['x{75}\.\.\.$"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(value)
