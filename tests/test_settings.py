"""Checked fields: what converters return and refuse, and the error that names the field."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from ferjax import settings
from ferjax.settings import Frozen, frozen, setting


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


@frozen
class Shelf(Frozen):
    """A `Frozen` with a field of each kind."""

    boards: ClassVar[int] = 3

    height: float = setting(settings.positive)
    name: str = setting(settings.text, "shelf")

    def __post_init__(self) -> None:
        settings.convert_fields(self, lambda name, error: KeyError(f"{name}: {error}"))


@frozen
class Locked(Shelf):
    """One that inherits."""

    key: Any = setting(settings.plain, None)


@dataclass(frozen=True, kw_only=True)
class Labelled(Shelf):
    """What a dataclass makes of the same."""

    label: str = setting(settings.text, "")


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A dataclass of the fields of `Shelf`."""

    height: float
    name: str = "shelf"


def test_frozen_classes_are_dataclasses_by_keyword() -> None:
    shelf = Locked(height=2, key=[1])
    assert (shelf.height, shelf.name, shelf.key, shelf.boards) == (2.0, "shelf", (1.0,), 3)
    assert [field.name for field in dataclasses.fields(shelf)] == ["height", "name", "key"]
    assert dataclasses.replace(shelf, name="oak") == Locked(name="oak", height=2, key=[1])
    for same in (copy.copy(shelf), copy.deepcopy(shelf), pickle.loads(pickle.dumps(shelf))):
        assert same == shelf
        assert hash(same) == hash(shelf)
    assert shelf != Locked(height=2)
    assert Shelf(height=2) != Locked(height=2)  # of the same fields
    assert Shelf(height=2) != 2


def test_frozen_classes_look_as_those_of_dataclass() -> None:
    assert repr(Shelf(height=1)) == repr(Plain(height=1.0)).replace("Plain", "Shelf")
    assert inspect.signature(Shelf).parameters == inspect.signature(Plain).parameters


def test_frozen_classes_cannot_be_changed() -> None:
    shelf = Shelf(height=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'name'"):
        shelf.name = "oak"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'name'"):
        del shelf.name


def test_frozen_classes_name_what_is_wrong_with_a_call() -> None:
    with pytest.raises(TypeError, match=r"^Shelf\(\) misses 'height'$"):
        Shelf()
    with pytest.raises(TypeError, match=r"^Shelf\(\) got an unexpected keyword argument 'width'$"):
        Shelf(height=1, width=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        Shelf(1)  # type: ignore[misc]
    with pytest.raises(KeyError, match="height: expected a number above 0"):
        Shelf(height=0)


def test_dataclasses_inherit_from_frozen_classes() -> None:
    assert Labelled(height=1, label="a") == Labelled(height=1.0, label="a")
    assert Labelled(height=1) != Labelled(height=1, label="a")
    assert list(inspect.signature(Labelled).parameters) == ["height", "name", "label"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Labelled(height=1).label = "b"  # type: ignore[misc]
