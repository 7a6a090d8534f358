"""What every layer is: settings, a description of its weights, shapes, a forward pass."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from ferjax import settings
from ferjax._lazy import LazyModule
from ferjax.errors import LayerError, near_misses
from ferjax.frozen import Frozen, frozen
from ferjax.nets.initializers import Initializer
from ferjax.nets.layers.work import LOOP, Shape, Work, num_values
from ferjax.settings import setting

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp

    from ferjax.nets import batch_norm, convolution, ops, winograd
else:  # none is needed to describe a network, and jax is slow to import
    jax, jnp = LazyModule("jax"), LazyModule("jax.numpy")
    convolution, ops = LazyModule("ferjax.nets.convolution"), LazyModule("ferjax.nets.ops")
    batch_norm = LazyModule("ferjax.nets.batch_norm")

__all__ = [
    "ACTIVATION_NAMES",
    "DATA_FORMAT",
    "Array",
    "InnerRun",
    "InputLayer",
    "LOOP",
    "Layer",
    "Run",
    "Shape",
    "Weight",
    "Work",
    "as_activation",
    "as_layer",
    "batch_norm",
    "convolution",
    "num_values",
    "inner_weights",
    "jax",
    "jnp",
    "ops",
    "snake_case",
]

Array = Any  # a jax.Array; also a NumPy array outside of jit

DATA_FORMAT = settings.choice("channels_last", "channels_first")
# The names that `ops.ACTIVATIONS` implements; here too, because ops imports jax.
ACTIVATION_NAMES = (
    "linear relu relu6 elu selu celu tanh sigmoid log_sigmoid softplus softsign swish silu mish "
    "gelu leaky_relu hard_sigmoid keras2_hard_sigmoid hard_silu hard_swish hard_tanh hard_shrink "
    "soft_shrink tanh_shrink squareplus sparse_plus exponential softmax log_softmax"
).split()


@dataclass(frozen=True)
class Weight:
    """Describe one array of a layer.

    Attributes:
        name: its key in the variables pytree.
        keras_names: what Keras versions call it; the first is Keras 2's.
        shape: its shape, the same here and in Keras.
        initializer: how it is drawn.
        collection: "params" for what the optimizer may change, else "batch_stats".
        part: the part of the layer that Keras keeps it in, such as "cell" of an LSTM; empty: the
            layer itself.
    """

    name: str
    keras_names: tuple[str, ...]
    shape: tuple[int, ...]
    initializer: Initializer
    collection: Literal["params", "batch_stats"] = "params"
    dtype: str = "float32"
    part: str = ""

    @property
    def keras_path(self) -> str:
        """Its name in Keras within the layer: "kernel", "cell/kernel"."""
        return f"{self.part}/{self.keras_names[0]}" if self.part else self.keras_names[0]


class Run(Protocol):
    """What a layer may ask of the forward pass that it is part of."""

    @property
    def train(self) -> bool:
        """Whether the network is being trained."""

    @property
    def direct(self) -> bool:
        """Whether convolutions are XLA's own: quick to compile, on CPUs slow to compute."""

    def key(self) -> jax.Array:
        """Return a fresh random key for this layer."""

    def update(self, name: str, value: jax.Array) -> None:
        """Replace a weight of collection "batch_stats"."""


@frozen
class Layer(Frozen):
    """Base of all layers. An empty name is filled in by `Graph`, as Keras names layers."""

    name: str = setting(settings.text, "")
    trainable: bool = setting(settings.boolean, True)

    # Whether inputs are exactly one tensor, or two and more.
    merges: ClassVar[bool] = False
    # Whether the order of the inputs does not matter; `known.fingerprint` then sorts them.
    commutes: ClassVar[bool] = False
    # Whether Keras has no layer for it, but functions on tensors.
    is_operation: ClassVar[bool] = False
    # Whether it may be the `activation` of another layer.
    activates: ClassVar[bool] = False
    # Whether it only moves, leaves out, repeats or averages values: of pixels it makes pixels.
    moves: ClassVar[bool] = False
    # Whether the outputs are the inputs in the same order, at most in another shape.
    only_reshapes: ClassVar[bool] = False
    # Whether it computes in float32 even where the network computes in bfloat16.
    full_precision: ClassVar[bool] = False

    def __post_init__(self) -> None:
        settings.convert_fields(self, lambda name, error: self.error(f"{name}: {error}"))

    @property
    def kind(self) -> str:
        """The Keras class name."""
        return type(self).__name__

    @property
    def parts(self) -> tuple[str, ...]:
        """What Keras keeps as layers inside this one: "activation", where that is a layer."""
        names: list[str] = []
        for field in dataclasses.fields(self):
            inner = getattr(self, field.name)
            if isinstance(inner, Layer):
                names += [field.name, *(f"{field.name}/{part}" for part in inner.parts)]
        return tuple(names)

    def error(self, message: str) -> LayerError:
        return LayerError(f"layer {self.name!r} ({self.kind}): {message}")

    def takes(self, count: int) -> bool:
        """Whether it can be called on `count` inputs."""
        return count >= 2 if self.merges else count == 1

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        """Return the layer's arrays for inputs of `shape`, in Keras's order."""
        return ()

    def output_shape(self, *shapes: Shape) -> Shape:
        """Return the shape of the output for inputs of `shapes`."""
        return shapes[0]

    def work(self, *shapes: Shape) -> Work:
        """Return what it takes for inputs of `shapes`, where it does more than look at each value
        of its inputs and outputs."""
        return Work()

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        """Return the output for `inputs`, each (B, ...)."""
        raise NotImplementedError

    def forward_tiles(
        self, run: Run, weights: Mapping[str, Array], tiles: winograd.Tiles
    ) -> winograd.Tiles | Array:
        """Return the output for images in tiles; see `ferjax.nets.pooled`.

        Of layers that change each pixel by itself, and of those that pool tiles.
        """
        return tiles.map(lambda pixels: self.forward(run, weights, pixels))

    def prepared(self, weights: Mapping[str, Array], shape: tuple[int, ...]) -> dict[str, Any]:
        """Return what `forward` would make of the weights alone, to add to them at inference.

        Args:
            weights: as for `forward`.
            shape: of the inputs, (B, ...), B of the largest batch.

        Returns:
            NumPy's arrays by name, or trees of them.
        """
        return {}

    def weights_of(self, part: str, shape: Shape) -> tuple[Weight, ...]:
        """Return the arrays of the layer in setting `part`, if one is in it, for its inputs."""
        inner = getattr(self, part)
        if not isinstance(inner, Layer):
            return ()
        return tuple(
            dataclasses.replace(
                weight,
                name=f"{part}_{weight.name}",
                part="/".join(filter(None, (part, weight.part))),
            )
            for weight in inner.weights(shape)
        )

    def activated(
        self, run: Run, weights: Mapping[str, Array], x: Array, by: str = "activation"
    ) -> Array:
        """Return what the activation in setting `by` makes of `x`."""
        activation: str | Layer = getattr(self, by)
        if isinstance(activation, Layer):
            return activation.forward(run, inner_weights(weights, by), x)
        return ops.ACTIVATIONS[activation](x)

    def affine(self) -> tuple[tuple[float, float], ...] | None:
        """Return which (scale, offset) there are where outputs are inputs * scale + offset.

        Several where channels differ; None for a layer that computes anything else. Of one that
        moves values, as pooling, each is still what it was.
        """
        return ((1.0, 0.0),) if self.moves else None

    def last_activation(self, ndim: int) -> str | None:
        """Return the activation that the outputs went through last.

        Args:
            ndim: the number of the outputs' axes, without the batch.

        Returns:
            Its name, such as "softmax" (over the last axis); "other" where it has none, or there
            are several; None where the layer applies none: its weights and inputs decide then.
        """
        activation = getattr(self, "activation", None)
        if isinstance(activation, Layer):
            return activation.last_activation(ndim)
        return activation if isinstance(activation, str) else None

    def check_rank(self, shape: Shape, expected: int) -> None:
        if len(shape) != expected:
            raise self.error(f"expected inputs of {expected} axes (without the batch), got {shape}")

    def check_broadcasts(self, name: str, sizes: Shape) -> None:
        """Check that the numbers of setting `name` broadcast to `sizes`, from the right."""
        shape = settings.dimensions(getattr(self, name))
        pairs = zip(shape[::-1], sizes[::-1])
        if len(shape) > len(sizes) or any(n != 1 and s not in (n, None) for n, s in pairs):
            raise self.error(f"{name}: expected numbers for axes of sizes {sizes}, got {shape}")

    def known_size(self, shape: Shape, axis: int) -> int:
        size = shape[axis]
        if size is None:
            raise self.error(f"expected a known size of axis {axis}, got inputs of shape {shape}")
        return size


def as_activation(value: Any) -> str | Layer:
    """Return an activation, a name or a layer that activates: the converter of a setting."""
    if value is None:
        return "linear"
    if isinstance(value, Layer) and value.activates:
        return getattr(value, "activation", None) or as_layer(value)  # Activation adds nothing
    if value not in ACTIVATION_NAMES:
        expected = (
            f"an activation among {', '.join(ACTIVATION_NAMES)}, or a layer such as LeakyReLU"
        )
        hint = near_misses(str(value), ACTIVATION_NAMES)
        raise ValueError(f"{settings.invalid(expected, value)}{hint}")
    return str(value)


def as_layer(value: Any) -> Layer:
    """Return a layer, with the name that files have for one without: the converter of a setting."""
    if not isinstance(value, Layer):
        raise settings.invalid("a layer", value)
    return value if value.name else dataclasses.replace(value, name=snake_case(value.kind))


@frozen
class InputLayer(Layer):
    """The network's input: (H, W, C), or (C, H, W); None where a size is open."""

    shape: Shape = setting(settings.shape)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0]


def is_direct(run: Run) -> bool:
    """Return `run.direct`; False of a run of one's own that does not say."""
    return getattr(run, "direct", False)


@dataclass(frozen=True)
class InnerRun:
    """The part of a layer in setting `part` of another in the forward pass."""

    outer: Run
    part: str

    @property
    def train(self) -> bool:
        return self.outer.train

    @property
    def direct(self) -> bool:
        return is_direct(self.outer)

    def key(self) -> jax.Array:
        return self.outer.key()

    def update(self, name: str, value: jax.Array) -> None:
        self.outer.update(f"{self.part}_{name}", value)


def inner_weights(weights: Mapping[str, Array], part: str) -> dict[str, Array]:
    """Return the arrays of the layer in setting `part`, under the names that it knows."""
    prefix = f"{part}_"
    return {
        name.removeprefix(prefix): array
        for name, array in weights.items()
        if name.startswith(prefix)
    }


def snake_case(kind: str) -> str:
    """Return the name that Keras derives from a class name.

    >>> [snake_case(kind) for kind in ("Conv2D", "MaxPooling2D", "PReLU", "InputLayer")]
    ['conv2d', 'max_pooling2d', 'p_re_lu', 'input_layer']
    """
    kind = re.sub(r"\W+", "", kind)
    kind = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", kind)
    return re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()
