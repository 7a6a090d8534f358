"""Checked fields of frozen dataclasses: layers, augmentations, recipes.

A converter takes any value, as a person or a config gives it, and returns the setting, hashable, or
raises ValueError with "expected ..., got ...".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

Convert = Callable[[Any], Any]
Pair = tuple[int, int]
Range = tuple[float, float]

_LARGEST = 2**31 - 1
_LARGEST_FLOAT = 3.4e38  # of single precision
_DEEPEST = 6  # axes of an array of numbers


def setting(convert: Convert, default: Any = dataclasses.MISSING) -> Any:
    """Declare a dataclass field that `convert` checks; without a default it must be given."""
    return dataclasses.field(default=default, metadata={"convert": convert})


def convert_fields(instance: Any, error: Callable[[str, ValueError], Exception]) -> None:
    """Replace each field of a frozen dataclass, declared by `setting`, by what it converts to.

    Raises:
        what `error` makes of a field's name and its converter's error.
    """
    for name, convert in _converters(type(instance)):  # type: ignore[arg-type]
        try:
            value = convert(getattr(instance, name))
        except ValueError as cause:
            raise error(name, cause) from None
        object.__setattr__(instance, name, value)


@lru_cache(maxsize=256)  # by kind: there are layers by the thousand
def _converters(kind: type[Any]) -> tuple[tuple[str, Convert], ...]:
    return tuple((field.name, field.metadata["convert"]) for field in dataclasses.fields(kind))


def invalid(expected: str, value: object) -> ValueError:
    """Return the error of a converter that is given another value than it expects."""
    text = repr(value)
    return ValueError(f"expected {expected}, got {text if len(text) <= 80 else text[:77] + '...'}")


def _integer(minimum: int, expected: str) -> Convert:
    def convert(value: Any) -> int:
        # JSON has 3.0 for 3 where a config went through another program.
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise invalid(expected, value)
        if value > _LARGEST:
            raise invalid(f"{expected}, at most {_LARGEST}", value)
        if value < minimum:
            raise invalid(expected, value)
        return int(value)

    return convert


positive_int = _integer(1, "a positive integer")
natural = _integer(0, "an integer of at least 0")
integer = _integer(-_LARGEST, "an integer")


def real(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) < _LARGEST_FLOAT:  # nor NaN
        raise invalid("a finite number", value)
    return float(value)


def non_negative(value: Any) -> float:
    if real(value) < 0:
        raise invalid("a number of at least 0", value)
    return float(value)


def positive(value: Any) -> float:
    if real(value) <= 0:
        raise invalid("a number above 0", value)
    return float(value)


def rate(value: Any) -> float:
    if not 0 <= real(value) < 1:
        raise invalid("a rate of at least 0 and below 1", value)
    return float(value)


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid("true or false", value)
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise invalid("a string", value)
    return value


def optional(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def within(convert: Convert, low: float, high: float, expected: str) -> Convert:
    """Let `convert` return numbers in [low, high] alone: one, or a tuple of them."""

    def bounded(value: Any) -> Any:
        converted = convert(value)
        ends = converted if isinstance(converted, tuple) else (converted,)
        if not all(low <= end <= high for end in ends):
            raise invalid(expected, value)
        return converted

    return bounded


def choice(*names: str) -> Convert:
    def convert(value: Any) -> str:
        if value not in names:
            raise invalid(f"one of {', '.join(map(repr, names))}", value)
        return str(value)

    return convert


def sequence(value: Any, expected: str, length: int | None = None) -> Sequence[Any]:
    if not isinstance(value, list | tuple) or (length is not None and len(value) != length):
        raise invalid(expected, value)
    if len(value) > 64:
        raise invalid(f"{expected} of at most 64 items", value)
    return value


def tuple_of(convert: Convert, expected: str) -> Convert:
    return lambda value: tuple(convert(v) for v in sequence(value, expected))


def pair_of(convert: Convert, expected: str) -> Convert:
    """Accept one value for both axes, or two in the order (height, width)."""

    def pair(value: Any) -> tuple[Any, Any]:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = (value, value)
        first, second = sequence(value, expected, 2)
        return convert(first), convert(second)

    return pair


positive_pair = pair_of(positive_int, "a positive integer or two of them")


def positive_single(value: Any) -> tuple[int]:
    """Return (n,) of a positive integer or a list of one, as which Keras writes it."""
    values = value if isinstance(value, list | tuple) else [value]
    (first,) = sequence(values, "a positive integer or a list of one", 1)
    return (positive_int(first),)


def edges(value: Any) -> tuple[Pair, Pair]:
    """Return ((top, bottom), (left, right)) from an integer, two, or two pairs, as Keras does."""
    expected = "an integer, two integers, or two pairs of integers, each at least 0"
    rows, columns = (
        sequence(value, expected, 2) if isinstance(value, list | tuple) else (value,) * 2
    )
    side = pair_of(natural, expected)
    return side(rows), side(columns)


def symmetric_range(value: Any) -> Range:
    """Return (lower, upper); one number f means (-f, f)."""
    if isinstance(value, list | tuple):
        lower, upper = sorted(real(v) for v in sequence(value, "a number or two", 2))
        return lower, upper
    return -abs(real(value)), abs(real(value))


range_or_same = pair_of(real, "a number or two")


def plain(value: Any) -> Any:
    """Return a number or nested rows of them, None, a truth value or a word, for Keras to read."""
    return value if value is None or isinstance(value, bool | str) else numbers(value)


def axis_or_axes(value: Any) -> int | tuple[int, ...]:
    if isinstance(value, list | tuple):
        return tuple(integer(v) for v in sequence(value, "an axis or a list of axes"))
    result: int = integer(value)
    return result


def one_axis(value: Any) -> int:
    """Return one axis from an integer or, as Keras 2.15 writes it, a list of one."""
    if isinstance(value, list | tuple):
        (value,) = sequence(value, "one axis", 1)
    result: int = integer(value)
    return result


def numbers(value: Any, depth: int = 0) -> float | tuple[Any, ...]:
    """Return a number, or nested tuples of numbers, as an array has them."""
    if not isinstance(value, list | tuple):
        return real(value)
    if len(value) > 1_000_000:
        raise invalid("at most a million numbers", value)
    if depth == _DEEPEST:
        raise invalid(f"numbers nested at most {_DEEPEST} deep", value)
    items = tuple(numbers(v, depth + 1) for v in value)
    if len({dimensions(item) for item in items}) > 1:
        raise invalid("rows of equal length", value)
    return items


def dimensions(value: float | tuple[Any, ...]) -> tuple[int, ...]:
    """Return the shape of what `numbers` returns.

    >>> dimensions(((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))
    (2, 3)
    """
    if not isinstance(value, tuple):
        return ()
    return (len(value), *(dimensions(value[0]) if value else ()))


def flat(value: float | tuple[Any, ...]) -> list[float]:
    """Return what `numbers` returns as one list.

    >>> flat(((1.0, 2.0), (3.0, 4.0)))
    [1.0, 2.0, 3.0, 4.0]
    """
    if not isinstance(value, tuple):
        return [value]
    return [number for item in value for number in flat(item)]


def each(value: Any, function: Callable[[float], float]) -> Any:
    """Apply a function to each number of what `numbers` returns."""
    if isinstance(value, tuple):
        return tuple(each(item, function) for item in value)
    return function(value)


def scalings(scale: Any, offset: Any) -> tuple[tuple[float, float], ...] | None:
    """Return the (scale, offset) of each channel, or None of more than 64."""
    scales, offsets = flat(scale), flat(offset)
    count = max(len(scales), len(offsets))
    if count > 64 or any(len(numbers) not in (1, count) for numbers in (scales, offsets)):
        return None
    pairs = zip(scales * (count // len(scales)), offsets * (count // len(offsets)))
    return tuple(dict.fromkeys(pairs))


def shape(value: Any) -> tuple[int | None, ...]:
    """Return a shape without its batch axis; None where a dimension is open."""
    expected = "a shape such as (48, 48, 1)"
    return tuple(optional(positive_int)(v) for v in sequence(value, expected))
