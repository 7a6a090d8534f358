"""Dense and normalizing layers, and changes of shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.initializers import GLOROT_UNIFORM, L1L2, ONES, ZEROS, Initializer
from ferjax.nets.layers.base import (
    DATA_FORMAT,
    Array,
    Layer,
    Run,
    Shape,
    Weight,
    Work,
    as_activation,
    batch_norm,
    jnp,
    num_values,
    ops,
)
from ferjax.settings import each, scalings, setting


@frozen
class Flatten(Layer):
    """All axes as one, in the order (H, W, C) also where the image is channels_first."""

    moves: ClassVar[bool] = True
    only_reshapes: ClassVar[bool] = True

    data_format: str = setting(DATA_FORMAT, "channels_last")

    def output_shape(self, *shapes: Shape) -> Shape:
        sizes = [self.known_size(shapes[0], axis) for axis in range(len(shapes[0]))]
        return (math.prod(sizes),)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        if self.data_format == "channels_first" and x.ndim > 2:
            x = jnp.moveaxis(x, 1, -1)
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # -1 is not known of no images


@frozen
class Reshape(Layer):
    """Another shape, row by row; one axis may be -1."""

    moves: ClassVar[bool] = True
    only_reshapes: ClassVar[bool] = True

    target_shape: tuple[int, ...] = setting(
        settings.tuple_of(settings.integer, "a shape such as (7,)")
    )

    def output_shape(self, *shapes: Shape) -> Shape:
        total = math.prod(self.known_size(shapes[0], axis) for axis in range(len(shapes[0])))
        fixed = math.prod(size for size in self.target_shape if size != -1)
        open_axes = self.target_shape.count(-1)
        negative = any(size < -1 for size in self.target_shape)
        if (
            negative
            or fixed < 1
            or open_axes > 1
            or (total % fixed if open_axes else total != fixed)
        ):
            raise self.error(f"expected a target_shape of {total} items, got {self.target_shape}")
        return tuple(total // fixed if size == -1 else size for size in self.target_shape)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0].reshape(inputs[0].shape[0], *self.target_shape)


@frozen
class Permute(Layer):
    """The axes in another order: `dims` counts them from 1, without the batch."""

    moves: ClassVar[bool] = True

    dims: tuple[int, ...] = setting(settings.tuple_of(settings.positive_int, "axes such as (2, 1)"))

    def output_shape(self, *shapes: Shape) -> Shape:
        if sorted(self.dims) != list(range(1, len(shapes[0]) + 1)):
            raise self.error(
                f"dims: expected the axes 1 to {len(shapes[0])}, each once, got {self.dims}"
            )
        return tuple(shapes[0][axis - 1] for axis in self.dims)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jnp.transpose(inputs[0], (0, *self.dims))


@frozen
class RepeatVector(Layer):
    """A vector n times: (C,) becomes (n, C)."""

    moves: ClassVar[bool] = True

    n: int = setting(settings.positive_int)

    def output_shape(self, *shapes: Shape) -> Shape:
        self.check_rank(shapes[0], 1)
        return (self.n, *shapes[0])

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return jnp.repeat(inputs[0][:, None], self.n, axis=1)


@frozen
class Dense(Layer):
    """Fully connected on the last axis: kernel (in, units), bias (units,)."""

    units: int = setting(settings.positive_int)
    activation: str | Layer = setting(as_activation, "linear")
    use_bias: bool = setting(settings.boolean, True)
    kernel_initializer: Initializer = setting(Initializer.of, GLOROT_UNIFORM)
    bias_initializer: Initializer = setting(Initializer.of, ZEROS)
    kernel_regularizer: Any = setting(L1L2.of, None)
    bias_regularizer: Any = setting(L1L2.of, None)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        kernel_shape = (self.known_size(shape, -1), self.units)
        kernel = Weight("kernel", ("kernel",), kernel_shape, self.kernel_initializer)
        bias = Weight("bias", ("bias",), (self.units,), self.bias_initializer)
        activation = self.weights_of("activation", self.output_shape(shape))
        return (kernel, *((bias,) if self.use_bias else ()), *activation)

    def output_shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:-1], self.units)

    def work(self, *shapes: Shape) -> Work:
        return Work(operations=num_values(shapes[0]) * self.units)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x, kernel = inputs[0], weights["kernel"]
        x = ops.trained_dense(x, kernel) if run.train else ops.dense(x, kernel)
        if self.use_bias:
            x = x + ops.along_axis(weights["bias"], x.ndim, -1)
        return self.activated(run, weights, x)


# Images with which a normalization that is prepared is quicker to compile and to compute; batches
# of 8 take 2 % longer with it. Behind a convolution in tiles they are those of one part.
_MOST_PREPARED = 4


@frozen
class BatchNormalization(Layer):
    """Batch normalization along `axis` (Ioffe and Szegedy, arXiv 1502.03167).

    epsilon is Keras's 1e-3 (Flax has 1e-5), momentum Keras's 0.99: new = momentum * old +
    (1 - momentum) * batch, with the biased batch variance, as in Keras 3. (The fused kernel of
    Keras 2 stores the unbiased one; the difference is 1 / (B * H * W).)
    """

    full_precision: ClassVar[bool] = True  # sums over a batch need all their bits

    axis: int = setting(settings.one_axis, -1)
    momentum: float = setting(settings.real, 0.99)
    epsilon: float = setting(settings.non_negative, 1e-3)
    center: bool = setting(settings.boolean, True)
    scale: bool = setting(settings.boolean, True)
    gamma_initializer: Initializer = setting(Initializer.of, ONES)
    beta_initializer: Initializer = setting(Initializer.of, ZEROS)
    moving_mean_initializer: Initializer = setting(Initializer.of, ZEROS)
    moving_variance_initializer: Initializer = setting(Initializer.of, ONES)
    gamma_regularizer: Any = setting(L1L2.of, None)
    beta_regularizer: Any = setting(L1L2.of, None)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        ndim = len(shape) + 1
        if not -ndim < self.axis < ndim or self.axis == 0:
            raise self.error(f"axis: expected an axis of {ndim}, not the batch, got {self.axis}")
        size = (self.known_size(shape, self.axis - 1 if self.axis > 0 else self.axis),)
        # Keras 1's running_std holds a variance.
        means = ("moving_mean", "running_mean")
        variances = ("moving_variance", "running_std")
        stats: Literal["batch_stats"] = "batch_stats"
        gamma = Weight("scale", ("gamma",), size, self.gamma_initializer)
        beta = Weight("bias", ("beta",), size, self.beta_initializer)
        return (
            *((gamma,) if self.scale else ()),
            *((beta,) if self.center else ()),
            Weight("mean", means, size, self.moving_mean_initializer, stats),
            Weight("var", variances, size, self.moving_variance_initializer, stats),
        )

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x, mean, variance = inputs[0], weights["mean"], weights["var"]
        if run.train and self.trainable:  # a frozen layer keeps its statistics, as in Keras
            y, batch_mean, batch_variance = batch_norm.normalized(
                x,
                weights.get("scale"),
                weights.get("bias"),
                axis=self.axis,
                epsilon=self.epsilon,
            )
            share = 1 - self.momentum
            run.update("mean", self.momentum * mean + share * batch_mean)
            run.update("var", self.momentum * variance + share * batch_variance)
            return y
        # `jax.export` has symbols for sizes.
        is_few = isinstance(x.shape[0], int) and x.shape[0] <= _MOST_PREPARED
        if "prepared_factor" in weights and is_few:
            return ops.scaled(
                x, weights["prepared_factor"], weights["prepared_shift"], axis=self.axis
            )
        return ops.batch_norm(
            x,
            mean,
            variance,
            weights.get("scale"),
            weights.get("bias"),
            axis=self.axis,
            epsilon=self.epsilon,
        )

    def prepared(self, weights: Mapping[str, Array], shape: tuple[int, ...]) -> dict[str, Any]:
        factor, shift = ops.prepared_norm(
            weights["mean"],
            weights["var"],
            weights.get("scale"),
            weights.get("bias"),
            epsilon=self.epsilon,
        )
        return {"prepared_factor": factor, "prepared_shift": shift}


@frozen
class Rescaling(Layer):
    """x * scale + offset; each a number, or one for every channel."""

    full_precision: ClassVar[bool] = True  # gray levels up to 255 have 8 bits

    scale: Any = setting(settings.numbers)
    offset: Any = setting(settings.numbers, 0.0)

    def output_shape(self, *shapes: Shape) -> Shape:
        self.check_broadcasts("scale", shapes[0])
        self.check_broadcasts("offset", shapes[0])
        return shapes[0]

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]

        def constant(value: Any) -> Array:
            array = jnp.asarray(value, x.dtype)
            return array.reshape((1,) * (x.ndim - array.ndim) + array.shape)

        return x * constant(self.scale) + constant(self.offset)

    def affine(self) -> tuple[tuple[float, float], ...] | None:
        return scalings(self.scale, self.offset)


@frozen
class Normalization(Layer):
    """(x - mean) / max(sqrt(variance), 1e-7) along `axis`, or with `invert` the reverse.

    Without `mean` and `variance` in the settings they are weights: mean, variance and a count.
    """

    full_precision: ClassVar[bool] = True

    axis: Any = setting(settings.optional(settings.axis_or_axes), -1)
    mean: Any = setting(settings.optional(settings.numbers), None)
    variance: Any = setting(settings.optional(settings.numbers), None)
    invert: bool = setting(settings.boolean, False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.mean is None) != (self.variance is None):
            raise self.error("expected mean and variance, or neither")

    def kept_axes(self, ndim: int) -> tuple[int, ...]:
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        axes = () if self.axis is None else axes
        if any(not -ndim <= a < ndim or a % ndim == 0 for a in axes):
            raise self.error(f"axis: expected axes of {ndim}, not the batch, got {self.axis}")
        if len({a % ndim for a in axes}) < len(axes):
            raise self.error(f"axis: expected different axes, got {self.axis}")
        return tuple(sorted(a % ndim for a in axes))

    def output_shape(self, *shapes: Shape) -> Shape:
        sizes = tuple(shapes[0][axis - 1] for axis in self.kept_axes(len(shapes[0]) + 1))
        if self.mean is not None:
            self.check_broadcasts("mean", sizes)
            self.check_broadcasts("variance", sizes)
        return shapes[0]

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        if self.mean is not None:
            return ()
        sizes = tuple(self.known_size(shape, a - 1) for a in self.kept_axes(len(shape) + 1))
        stats: Literal["batch_stats"] = "batch_stats"
        return (
            Weight("mean", ("mean",), sizes, ZEROS, stats),
            Weight("var", ("variance",), sizes, ONES, stats),
            Weight("count", ("count",), (), ZEROS, stats, dtype="int32"),
        )

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        axes = self.kept_axes(x.ndim)

        def spread(value: Any) -> Array:
            """Return `value` with the sizes of the kept axes, matched from the right."""
            array = jnp.asarray(value, x.dtype)
            shape = [1] * x.ndim
            for axis, size in zip(axes[::-1], array.shape[::-1]):
                shape[axis] = size
            return array.reshape(shape)

        mean = spread(weights["mean"] if self.mean is None else self.mean)
        variance = spread(weights["var"] if self.variance is None else self.variance)
        deviation = jnp.maximum(jnp.sqrt(variance), 1e-7)
        return mean + x * deviation if self.invert else (x - mean) / deviation

    def affine(self) -> tuple[tuple[float, float], ...] | None:
        if self.mean is None:
            return None
        deviation = each(self.variance, lambda variance: max(abs(variance) ** 0.5, 1e-7))
        if self.invert:
            return scalings(deviation, self.mean)
        pairs = scalings(each(deviation, lambda d: 1 / d), each(self.mean, lambda mean: -mean))
        return None if pairs is None else tuple((scale, scale * shift) for scale, shift in pairs)
