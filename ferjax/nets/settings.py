"""Checked settings of a layer: each converts what a person or a config gives, or says what's wrong.

A converter takes any value and returns the setting, hashable, or raises ValueError with "expected
..., got ...".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ferjax.errors import near_misses
from ferjax.nets.initializers import L1L2, Initializer

Convert = Callable[[Any], Any]
Pair = tuple[int, int]
Range = tuple[float, float]

# The names that `ops.ACTIVATIONS` implements; here too, because ops imports jax.
ACTIVATION_NAMES = (
    "linear relu relu6 elu selu celu tanh sigmoid log_sigmoid softplus softsign swish silu mish "
    "gelu leaky_relu hard_sigmoid keras2_hard_sigmoid hard_silu hard_swish hard_tanh hard_shrink "
    "soft_shrink tanh_shrink squareplus sparse_plus exponential softmax log_softmax"
).split()

_LARGEST = 2**31 - 1
_LARGEST_FLOAT = 3.4e38  # of single precision
_DEEPEST = 6  # axes of an array of numbers


def setting(convert: Convert, default: Any = dataclasses.MISSING) -> Any:
    """Declare a dataclass field that `convert` checks; without a default it must be given."""
    return dataclasses.field(default=default, metadata={"convert": convert})


def _expected(what: str, value: object) -> ValueError:
    text = repr(value)
    return ValueError(f"expected {what}, got {text if len(text) <= 80 else text[:77] + '...'}")


def _integer(minimum: int, what: str) -> Convert:
    def convert(value: Any) -> int:
        # JSON has 3.0 for 3 where a config went through another program.
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise _expected(what, value)
        if value > _LARGEST:
            raise _expected(f"{what}, at most {_LARGEST}", value)
        if value < minimum:
            raise _expected(what, value)
        return int(value)

    return convert


positive_int = _integer(1, "a positive integer")
natural = _integer(0, "an integer of at least 0")
integer = _integer(-_LARGEST, "an integer")


def real(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) < _LARGEST_FLOAT:  # nor NaN
        raise _expected("a finite number", value)
    return float(value)


def non_negative(value: Any) -> float:
    if real(value) < 0:
        raise _expected("a number of at least 0", value)
    return float(value)


def rate(value: Any) -> float:
    if not 0 <= real(value) < 1:
        raise _expected("a rate of at least 0 and below 1", value)
    return float(value)


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _expected("true or false", value)
    return value


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise _expected("a string", value)
    return value


def optional(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def choice(*names: str) -> Convert:
    def convert(value: Any) -> str:
        if value not in names:
            raise _expected(f"one of {', '.join(map(repr, names))}", value)
        return str(value)

    return convert


def sequence(value: Any, what: str, length: int | None = None) -> Sequence[Any]:
    if not isinstance(value, list | tuple) or (length is not None and len(value) != length):
        raise _expected(what, value)
    if len(value) > 64:
        raise _expected(f"{what} of at most 64 items", value)
    return value


def tuple_of(convert: Convert, what: str) -> Convert:
    return lambda value: tuple(convert(v) for v in sequence(value, what))


def pair_of(convert: Convert, what: str) -> Convert:
    """Accept one value for both axes, or two in the order (height, width)."""

    def pair(value: Any) -> tuple[Any, Any]:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = (value, value)
        first, second = sequence(value, what, 2)
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
    what = "an integer, two integers, or two pairs of integers, each at least 0"
    rows, columns = sequence(value, what, 2) if isinstance(value, list | tuple) else (value,) * 2
    side = pair_of(natural, what)
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
        raise _expected("at most a million numbers", value)
    if depth == _DEEPEST:
        raise _expected(f"numbers nested at most {_DEEPEST} deep", value)
    items = tuple(numbers(v, depth + 1) for v in value)
    if len({dimensions(item) for item in items}) > 1:
        raise _expected("rows of equal length", value)
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


def activation(value: Any) -> Any:
    """Return an activation: a name, or a layer that activates, such as LeakyReLU."""
    if value is None:
        return "linear"
    if getattr(value, "activates", False):
        return getattr(value, "activation", value)  # Activation itself adds nothing
    if value not in ACTIVATION_NAMES:
        what = f"an activation among {', '.join(ACTIVATION_NAMES)}, or a layer such as LeakyReLU"
        error = _expected(what, value)
        raise ValueError(f"{error}{near_misses(str(value), ACTIVATION_NAMES)}")
    return str(value)


def layer(value: Any) -> Any:
    if not hasattr(value, "output_shape"):
        raise _expected("a layer", value)
    return value


def initializer(value: Any) -> Initializer:
    return value if isinstance(value, Initializer) else Initializer(text(value))


def regularizer(value: Any) -> L1L2 | None:
    if value is not None and not isinstance(value, L1L2):
        raise _expected("an L1L2 penalty or None", value)
    return value


def shape(value: Any) -> tuple[int | None, ...]:
    """Return a shape without its batch axis; None where a dimension is open."""
    what = "a shape such as (48, 48, 1)"
    return tuple(optional(positive_int)(v) for v in sequence(value, what))
