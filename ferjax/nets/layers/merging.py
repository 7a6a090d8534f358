"""Layers of several inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.layers.base import LOOP, Array, Layer, Run, Shape, Work, jnp, num_values
from ferjax.settings import setting


@frozen
class _Merge(Layer):
    merges: ClassVar[bool] = True

    def output_shape(self, *shapes: Shape) -> Shape:
        """Broadcast axis by axis from the right, as Keras does."""
        ndim = max(map(len, shapes))
        result: list[int | None] = []
        for axis in range(ndim):
            sizes = {s[axis - ndim + len(s)] for s in shapes if axis - ndim + len(s) >= 0}
            fixed = sizes - {None, 1}
            if len(fixed) > 1:
                raise self.error(f"expected inputs of equal shapes, got {list(shapes)}")
            result.append(fixed.pop() if fixed else None if None in sizes else 1)
        return tuple(result)

    def work(self, *shapes: Shape) -> Work:
        return Work(operations=(len(shapes) - 1) * num_values(self.output_shape(*shapes)) * LOOP)

    def combine(self, x: Array, y: Array) -> Array:
        raise NotImplementedError

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        result, *others = inputs
        for x in others:
            ndim = max(result.ndim, x.ndim)
            # Missing axes stand behind the batch axis.
            result, x = (
                a.reshape(a.shape[0], *(1,) * (ndim - a.ndim), *a.shape[1:]) for a in (result, x)
            )
            result = self.combine(result, x)
        return result


@frozen
class Add(_Merge):
    """The sum of the inputs."""

    commutes: ClassVar[bool] = True

    def combine(self, x: Array, y: Array) -> Array:
        return x + y


@frozen
class Subtract(_Merge):
    """The first of two inputs less the second."""

    def output_shape(self, *shapes: Shape) -> Shape:
        if len(shapes) != 2:
            raise self.error(f"expected two inputs, got {len(shapes)}")
        return super().output_shape(*shapes)

    def combine(self, x: Array, y: Array) -> Array:
        return x - y


@frozen
class Average(Add):
    """The mean of the inputs."""

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return super().forward(run, weights, *inputs) / len(inputs)


@frozen
class Maximum(_Merge):
    """The largest of the inputs."""

    commutes: ClassVar[bool] = True

    def combine(self, x: Array, y: Array) -> Array:
        return jnp.maximum(x, y)


@frozen
class Minimum(_Merge):
    """The smallest of the inputs."""

    commutes: ClassVar[bool] = True

    def combine(self, x: Array, y: Array) -> Array:
        return jnp.minimum(x, y)


@frozen
class Multiply(_Merge):
    """The product of the inputs."""

    commutes: ClassVar[bool] = True

    def combine(self, x: Array, y: Array) -> Array:
        return x * y


@frozen
class Concatenate(_Merge):
    """The inputs side by side along `axis` (counted from the batch)."""

    moves: ClassVar[bool] = True

    axis: int = setting(settings.integer, -1)

    def output_shape(self, *shapes: Shape) -> Shape:
        ndim = len(shapes[0]) + 1
        if any(len(s) + 1 != ndim for s in shapes) or not -ndim < self.axis < ndim:
            raise self.error(f"expected inputs of as many axes, got {list(shapes)}")
        axis = self.axis % ndim - 1
        others = [s[:axis] + s[axis + 1 :] for s in shapes]
        if axis < 0 or len(set(others)) > 1:
            raise self.error(f"expected inputs that differ in axis {self.axis}, got {list(shapes)}")
        sizes = [s[axis] for s in shapes]
        total = None if None in sizes else sum(size for size in sizes if size is not None)
        return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jnp.concatenate(inputs, axis=self.axis)
