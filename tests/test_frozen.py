"""Frozen classes are what `dataclass(frozen=True, kw_only=True)` makes of the same fields."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from ferjax import settings
from ferjax.frozen import Frozen, frozen
from ferjax.settings import setting


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
    with pytest.raises(TypeError, match=r"^Shelf\(\) missing required .*: 'height'$"):
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


@pytest.mark.parametrize(
    "options", [{"default_factory": list}, {"init": False, "default": 1}, {"repr": False}]
)
def test_frozen_classes_have_plain_fields(options: dict[str, Any]) -> None:
    class Bad(Frozen):
        some: Any = dataclasses.field(**options)

    with pytest.raises(TypeError, match="Bad: expected a plain field, got Field"):
        frozen(Bad)
