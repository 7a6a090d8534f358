"""Arithmetic between layers: an operator or a function of tensors and constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.layers.base import Array, Layer, Run, Shape, jax, jnp
from ferjax.settings import setting

MOST_AXES = 8
_MOST_REPEATS = 4096

# What is computed of the operands, all of as many axes, or of one axis more in none of them.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "power": lambda x, y: jnp.power(x, y),
    "maximum": lambda x, y: jnp.maximum(x, y),
    "minimum": lambda x, y: jnp.minimum(x, y),
    "clip": lambda x, low, high: jnp.minimum(jnp.maximum(x, low), high),
    "abs": lambda x: jnp.abs(x),
    "sqrt": lambda x: jnp.sqrt(x),
    "rsqrt": lambda x: jax.lax.rsqrt(x),
    "square": lambda x: x * x,
    "log": lambda x: jnp.log(x),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "stop_gradient": lambda x: jax.lax.stop_gradient(x),
}
# What is computed over axes.
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "mean": lambda x, **k: x.mean(**k),
    "sum": lambda x, **k: x.sum(**k),
    "max": lambda x, **k: x.max(**k),
    "min": lambda x, **k: x.min(**k),
    "var": lambda x, **k: x.var(**k),
    "std": lambda x, **k: x.std(**k),
}
REARRANGING = ("get_item", "transpose", "flip", "repeat", "stack", "expand_dims", "squeeze")
OPERATIONS = (*ELEMENTWISE, *REDUCTIONS, *REARRANGING, "grayscale")
GRAY = (0.2989, 0.587, 0.114)  # TensorFlow's and Keras's shares of red, green and blue
# Of logits they make logits.
_LINEAR = {"add", "subtract", "mean", "sum", "stop_gradient", *REARRANGING}
_OPERANDS = {"add": 2, "subtract": 2, "multiply": 2, "divide": 2, "power": 2, "maximum": 2}
_OPERANDS |= {"minimum": 2, "clip": 3}


def _operand(value: Any) -> Any:
    return None if value is None else settings.numbers(value)


def _index(value: Any) -> tuple[Any, ...]:
    """Return what stands in brackets: integers, "..." and None, and (start, stop, step)."""
    items: list[Any] = []
    for item in settings.sequence(value, "an index"):
        if item is None or item == "...":
            items.append(item)
        elif isinstance(item, list | tuple):
            parts = settings.sequence(item, "(start, stop, step)", 3)
            items.append(tuple(settings.optional(settings.integer)(part) for part in parts))
            if items[-1][2] == 0:
                raise ValueError("expected a step other than 0")
        else:
            items.append(settings.integer(item))
    if items.count("...") > 1:
        raise ValueError("expected one ellipsis at most")
    return tuple(items)


@frozen
class Operation(Layer):
    """One operation of NumPy's, on one tensor or several and constants.

    Attributes:
        operation: one of `OPERATIONS`.
        operands: what it is computed of, in order: None for a tensor, else a constant, a number or
            nested tuples of them. Empty: of the one tensor, or of the tensors that are stacked.
        axis: where it works, counted from the batch, which is none of them; for "transpose" the
            axes in their new order.
        keepdims: whether axes that are reduced stay, with size 1.
        index: of "get_item": integers, "...", None for a new axis, and (start, stop, step).
        repeats: of "repeat".
    """

    is_operation: ClassVar[bool] = True
    # Constants such as gray levels need more bits than bfloat16 has.
    full_precision: ClassVar[bool] = True

    operation: str = setting(settings.choice(*OPERATIONS))
    operands: tuple[Any, ...] = setting(settings.tuple_of(_operand, "operands"), ())
    axis: Any = setting(settings.optional(settings.axis_or_axes), None)
    keepdims: bool = setting(settings.boolean, False)
    index: tuple[Any, ...] = setting(_index, ())
    repeats: int = setting(settings.positive_int, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        expected = _OPERANDS.get(self.operation, 1)
        if self.operands and len(self.operands) != expected:
            raise self.error(f"operands: expected {expected}, got {len(self.operands)}")
        if self.operands and None not in self.operands:
            raise self.error("expected a tensor among its operands, got constants only")
        if self.repeats > _MOST_REPEATS:
            raise self.error(f"repeats: expected at most {_MOST_REPEATS}, got {self.repeats}")

    @property
    def kind(self) -> str:
        """The operation's name, as a class: "GetItem"."""
        return "".join(part.title() for part in self.operation.split("_"))

    @property
    def is_linear(self) -> bool:
        """Whether it makes logits of logits."""
        if self.operation in ("multiply", "divide"):
            return self.operands[1:] != (None,) or self.operands[0] is not None
        return self.operation in _LINEAR

    def last_activation(self, ndim: int) -> str | None:
        return None if self.is_linear else "other"

    def takes(self, count: int) -> bool:
        if self.operands:
            return count == self.operands.count(None)
        return count >= 1 if self.operation == "stack" else count == 1

    # --- shapes ---

    def output_shape(self, *shapes: Shape) -> Shape:
        if self.operation in ELEMENTWISE:
            result = self._broadcast(shapes)
        elif self.operation in REDUCTIONS:
            gone = self.positions(len(shapes[0]) + 1)
            if not gone:
                raise self.error("axis: expected an axis at least, got none")
            result = tuple(
                1 if axis in gone else size
                for axis, size in enumerate(shapes[0], start=1)
                if self.keepdims or axis not in gone
            )
        else:
            result = getattr(self, f"_{self.operation}_shape")(*shapes)
        if len(result) >= MOST_AXES:
            raise self.error(f"expected at most {MOST_AXES} axes, got {len(result) + 1}")
        return result

    def _broadcast(self, shapes: Sequence[Shape]) -> Shape:
        """Return NumPy's shape, for tensors of as many axes and constants without a batch."""
        if len({len(shape) for shape in shapes}) > 1:
            raise self.error(f"expected inputs of as many axes, got {list(shapes)}")
        ndim = len(shapes[0]) + 1
        aligned = [(None, *shape) for shape in shapes]
        for operand in self.operands:
            if operand is None:
                continue
            sizes = settings.dimensions(operand)
            if len(sizes) > ndim or (len(sizes) == ndim and sizes[0] != 1):
                raise self.error(
                    f"expected a constant for inputs of {shapes[0]}, got one of shape {sizes}"
                )
            inside = sizes[1:] if len(sizes) == ndim else sizes
            aligned.append((None, *(1,) * (ndim - 1 - len(inside)), *inside))
        result: list[int | None] = []
        for axis in range(1, ndim):
            fixed = {sizes[axis] for sizes in aligned} - {1}
            if len(fixed - {None}) > 1 or 0 in fixed:
                subject = "inputs" if len(shapes) > 1 else "an input and constants"
                raise self.error(
                    f"expected {subject} that broadcast, got {[s[1:] for s in aligned]}"
                )
            result.append(max(fixed - {None}, default=None if fixed else 1))  # type: ignore[type-var]
        return tuple(result)

    def positions(self, ndim: int) -> tuple[int, ...]:
        """Return `axis` as axes from 1 to ndim - 1."""
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        if None in axes or any(not -ndim <= a < ndim or a % ndim == 0 for a in axes):
            raise self.error(f"axis: expected axes of {ndim}, not the batch, got {self.axis}")
        if len({a % ndim for a in axes}) < len(axes):
            raise self.error(f"axis: expected different axes, got {self.axis}")
        return tuple(a % ndim for a in axes)

    def _one_position(self, ndim: int) -> int:
        axes = self.positions(ndim)
        if len(axes) != 1:
            raise self.error(f"axis: expected one axis, got {self.axis}")
        return axes[0]

    def _transpose_shape(self, shape: Shape) -> Shape:
        axes = self.axis if isinstance(self.axis, tuple) else ()
        if axes[:1] != (0,) or sorted(axes) != list(range(len(shape) + 1)):
            raise self.error(
                f"axis: expected 0, the batch, and then each other axis of {len(shape) + 1} once, "
                f"got {self.axis}"
            )
        return tuple(shape[axis - 1] for axis in axes[1:])

    def _flip_shape(self, shape: Shape) -> Shape:
        self.positions(len(shape) + 1)
        return shape

    def _repeat_shape(self, shape: Shape) -> Shape:
        axis = self._one_position(len(shape) + 1) - 1
        size = shape[axis]
        repeated = None if size is None else size * self.repeats
        return (*shape[:axis], repeated, *shape[axis + 1 :])

    def _stack_shape(self, *shapes: Shape) -> Shape:
        axis = self._one_position(len(shapes[0]) + 2) - 1
        if len(set(shapes)) > 1:
            raise self.error(f"expected inputs of equal shapes, got {list(shapes)}")
        return (*shapes[0][:axis], len(shapes), *shapes[0][axis:])

    def _expand_dims_shape(self, shape: Shape) -> Shape:
        axis = self._one_position(len(shape) + 2) - 1
        return (*shape[:axis], 1, *shape[axis:])

    def _squeeze_shape(self, shape: Shape) -> Shape:
        gone = self.positions(len(shape) + 1)
        if any(shape[axis - 1] != 1 for axis in gone):
            raise self.error(f"axis: expected axes of size 1 of {shape}, got {self.axis}")
        return tuple(size for axis, size in enumerate(shape, start=1) if axis not in gone)

    def _grayscale_shape(self, shape: Shape) -> Shape:
        if shape[-1:] != (3,):
            raise self.error(f"expected red, green and blue, got inputs of {shape}")
        return (*shape[:-1], 1)

    def items(self, ndim: int) -> list[Any]:
        """Return `index` for a tensor of `ndim` axes, with slices in the ellipsis's place."""
        items = list(self.index)
        omitted = ndim - sum(item is not None and item != "..." for item in items)
        if omitted < 0:
            raise self.error(f"index: expected at most {ndim} axes, got {ndim - omitted}")
        ellipsis = items.index("...") if "..." in items else len(items)
        items[ellipsis : ellipsis + 1] = [(None, None, None)] * omitted
        if items[0] not in ((None, None, None), (0, None, None), (None, None, 1), (0, None, 1)):
            raise self.error(f"index: expected all of the batch, got {self.index}")
        return items

    def _get_item_shape(self, shape: Shape) -> Shape:
        result: list[int | None] = []
        axes = iter(range(len(shape)))  # without the batch
        for item in self.items(len(shape) + 1)[1:]:
            if item is None:
                result.append(1)
                continue
            axis = next(axes)
            size = shape[axis]
            if isinstance(item, int):
                if size is not None and not -size <= item < size:
                    raise self.error(
                        f"index: expected one of {size} along axis {axis + 1}, got {item}"
                    )
            elif size is None and item in ((None, None, None), (None, None, 1), (None, None, -1)):
                result.append(None)
            else:
                count = len(range(self.known_size(shape, axis))[slice(*item)])
                if not count:
                    raise self.error(f"index: nothing is left of {size} along axis {axis + 1}")
                result.append(count)
        return tuple(result)

    # --- values ---

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        if self.operation in ELEMENTWISE:
            return self._computed(inputs)
        if self.operation in REDUCTIONS:
            axes = self.positions(x.ndim)
            return REDUCTIONS[self.operation](x, axis=axes, keepdims=self.keepdims)
        if self.operation == "get_item":
            brackets = (slice(*i) if isinstance(i, tuple) else i for i in self.items(x.ndim))
            return x[tuple(brackets)]
        if self.operation == "stack":
            return jnp.stack(inputs, axis=self._one_position(x.ndim + 1))
        if self.operation == "grayscale":
            return (x * self.constant(GRAY, x)).sum(axis=-1, keepdims=True)
        if self.operation == "repeat":
            return jnp.repeat(x, self.repeats, axis=self._one_position(x.ndim))
        rearrange: dict[str, Callable[..., Any]] = {
            "transpose": jnp.transpose,
            "flip": jnp.flip,
            "expand_dims": jnp.expand_dims,
            "squeeze": jnp.squeeze,
        }
        return rearrange[self.operation](x, self.axis)

    def _computed(self, inputs: Sequence[Array]) -> Array:
        x, tensors = inputs[0], iter(inputs)
        exponent = self.operands[1] if self.operation == "power" else None
        if isinstance(exponent, float) and exponent.is_integer() and abs(exponent) < 1024:
            return x ** int(exponent)  # of negative numbers too, and with a gradient at 0
        values = [
            next(tensors) if operand is None else self.constant(operand, x)
            for operand in self.operands or (None,)
        ]
        return ELEMENTWISE[self.operation](*values)

    def constant(self, operand: Any, x: Array) -> Array:
        """Return a constant with the type and as many axes as `x`."""
        array = jnp.asarray(operand, x.dtype)
        return array.reshape((1,) * (x.ndim - array.ndim) + array.shape)

    # --- what it makes of the values of images ---

    def affine(self) -> tuple[tuple[float, float], ...] | None:
        """Return (scale, offset) where each value becomes one of these; None: it is no such."""
        if self.operation in (*REARRANGING, "stop_gradient", "grayscale"):
            return ((1.0, 0.0),)
        constants = [operand for operand in self.operands if operand is not None]
        if len(self.operands) != 2 or len(constants) != 1:
            return None
        right, constant = self.operands[0] is None, constants[0]
        if self.operation == "add":
            return settings.scalings(1.0, constant)
        if self.operation == "subtract":
            shift = settings.each(constant, lambda c: -c) if right else constant
            return settings.scalings(1.0 if right else -1.0, shift)
        if self.operation == "multiply":
            return settings.scalings(constant, 0.0)
        if self.operation == "divide" and right and all(settings.flat(constant)):
            return settings.scalings(settings.each(constant, lambda c: 1 / c), 0.0)
        return None
