"""Frozen dataclasses by the dozen, as the kinds of layers: their methods are shared, not compiled.

`dataclasses.dataclass` compiles six methods for each class, in 0.6 ms; for all kinds of layers that
took as long as to import NumPy.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from inspect import Parameter, Signature
from typing import Any, TypeVar, dataclass_transform

_Kind = TypeVar("_Kind", bound=type)
_MISSING = dataclasses.MISSING


@dataclass_transform(frozen_default=True, kw_only_default=True)
def frozen(kind: _Kind) -> _Kind:
    """Make a class that inherits from `Frozen` what `dataclass(frozen=True, kw_only=True)` would.

    Raises:
        TypeError: a field has a `default_factory`, or is left out of the constructor, the repr or
            the comparison.
    """
    made = dataclasses.dataclass(init=False, repr=False, eq=False, frozen=True, kw_only=True)
    made(kind)
    fields: Any = dataclasses.fields(kind)
    for field in fields:
        is_plain = field.init and field.repr and field.compare
        if field.default_factory is not _MISSING or not is_plain:
            raise TypeError(f"{kind.__name__}: expected a plain field, got {field}")
    return kind


class _SignatureOfFields:
    """`__signature__`, for help, Sphinx and `inspect`: the fields, by keyword."""

    def __get__(self, instance: object, kind: type[Frozen]) -> Signature:
        if kind.__init__ is not Frozen.__init__:
            raise AttributeError("__signature__")  # it has one of its own
        parameters = [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                annotation=field.type,
                default=Parameter.empty if field.default is _MISSING else field.default,
            )
            for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        ]
        return Signature(parameters)


class Frozen:
    """Base of the classes that `frozen` makes; dataclasses, if frozen, may inherit from these."""

    __signature__ = _SignatureOfFields()

    def __init__(self, **given: Any) -> None:
        kind: Any = type(self)
        values = dict(_defaults(kind))
        for name, value in given.items():
            if name not in values:
                raise TypeError(f"{kind.__name__}() got an unexpected keyword argument {name!r}")
            values[name] = value
        missing = [repr(name) for name, value in values.items() if value is _MISSING]
        if missing:
            names = ", ".join(missing)
            raise TypeError(f"{kind.__name__}() missing required keyword arguments: {names}")
        vars(self).update(values)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields, which are all set."""

    def __repr__(self) -> str:
        kind: Any = type(self)
        fields = (f"{name}={getattr(self, name)!r}" for name in _defaults(kind))
        return f"{kind.__qualname__}({', '.join(fields)})"

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))


@lru_cache(maxsize=256)
def _defaults(kind: Any) -> dict[str, Any]:
    """Return the default of each field, `_MISSING` where there is none."""
    return {field.name: field.default for field in dataclasses.fields(kind)}


def _values(instance: Any) -> tuple[Any, ...]:
    kind: Any = type(instance)
    return tuple(getattr(instance, name) for name in _defaults(kind))
