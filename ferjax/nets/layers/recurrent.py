"""Recurrent layers, and layers that are applied to every step of a sequence.

Dimensions: B batch, T steps, C channels, U units. Shapes leave the batch axis out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.initializers import GLOROT_UNIFORM, L1L2, ZEROS, Initializer
from ferjax.nets.layers.base import (
    Array,
    InnerRun,
    Layer,
    Run,
    Shape,
    Weight,
    Work,
    as_activation,
    as_layer,
    inner_weights,
    jax,
    jnp,
    ops,
)
from ferjax.settings import setting

_ORTHOGONAL = Initializer("orthogonal")
_STEP = 1 << 19  # multiply-adds in the time that a step takes beside its own


@dataclass(frozen=True)
class _ForgetGateOfOnes(Initializer):
    """Draws a bias (4U,) whose second quarter is 1, so that at first an LSTM forgets nothing."""

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = "float32") -> jax.Array:
        units = shape[0] // 4
        return super().__call__(key, shape, dtype).at[units : 2 * units].set(1)


@frozen
class Recurrent(Layer):
    """Base of the recurrent layers: kernel (C, gates * U), recurrent_kernel (U, gates * U), bias.

    While training, `dropout` of the inputs and `recurrent_dropout` of the state take one mask for
    all steps and gates of an image.
    """

    full_precision: ClassVar[bool] = True  # errors add up over the steps
    gates: ClassVar[int] = 1

    units: int = setting(settings.positive_int)
    activation: str | Layer = setting(as_activation, "tanh")
    use_bias: bool = setting(settings.boolean, True)
    kernel_initializer: Initializer = setting(Initializer.of, GLOROT_UNIFORM)
    recurrent_initializer: Initializer = setting(Initializer.of, _ORTHOGONAL)
    bias_initializer: Initializer = setting(Initializer.of, ZEROS)
    kernel_regularizer: Any = setting(L1L2.of, None)
    recurrent_regularizer: Any = setting(L1L2.of, None)
    bias_regularizer: Any = setting(L1L2.of, None)
    dropout: float = setting(settings.rate, 0.0)
    recurrent_dropout: float = setting(settings.rate, 0.0)
    seed: Any = setting(settings.optional(settings.integer), None)
    return_sequences: bool = setting(settings.boolean, False)
    go_backwards: bool = setting(settings.boolean, False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("activation", "recurrent_activation"):
            if isinstance(inner := getattr(self, name, None), Layer) and inner.weights((1,)):
                raise self.error(f"{name}: expected one without weights, got {inner.kind}")

    @property
    def parts(self) -> tuple[str, ...]:
        return ("cell", *(f"cell/{part}" for part in super().parts))

    @property
    def bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def last_activation(self, ndim: int) -> str | None:
        return "other"

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        self.check_rank(shape, 2)
        width, part = self.gates * self.units, "cell"
        channels = self.known_size(shape, 1)
        kernel = ("kernel", (channels, width), self.kernel_initializer)
        recurrent = ("recurrent_kernel", (self.units, width), self.recurrent_initializer)
        bias = ("bias", self.bias_shape, self.bias_initializer)
        return tuple(
            Weight(name, (name,), sizes, initializer, part=part)
            for name, sizes, initializer in (kernel, recurrent, *([bias] if self.use_bias else []))
        )

    def output_shape(self, *shapes: Shape) -> Shape:
        self.check_rank(shapes[0], 2)
        self.known_size(shapes[0], 0)
        return (shapes[0][0], self.units) if self.return_sequences else (self.units,)

    def work(self, *shapes: Shape) -> Work:
        width = self.gates * self.units
        products = (self.known_size(shapes[0], 1) + self.units) * width
        return Work(width, products + _STEP).times(self.known_size(shapes[0], 0))

    def input_bias(self, weights: Mapping[str, Array]) -> Array:
        """Return the part of the bias that is added to the inputs' product."""
        return weights["bias"]

    def step(
        self, run: Run, weights: Mapping[str, Array], x: Array, state: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        """Return the next state, the output first.

        Args:
            x: the product of a step's inputs with the kernel, (B, gates * U).
            state: as many (B, U) as the layer keeps.
        """
        raise NotImplementedError

    states: ClassVar[int] = 1

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0][:, ::-1] if self.go_backwards else inputs[0]
        mask: Array = 1.0
        if run.train and self.dropout:
            ones = jnp.ones((x.shape[0], 1, x.shape[2]), x.dtype)
            x = x * ops.dropout(ones, self.dropout, run.key())
        if run.train and self.recurrent_dropout:
            ones = jnp.ones((x.shape[0], self.units), x.dtype)
            mask = ops.dropout(ones, self.recurrent_dropout, run.key())
        x = x @ weights["kernel"]
        if self.use_bias:
            x = x + self.input_bias(weights)[None, None]

        def advance(state: tuple[Array, ...], x: Array) -> tuple[tuple[Array, ...], Array]:
            state = self.step(run, weights, x, (state[0] * mask, *state[1:]))
            return state, state[0]

        start = jnp.zeros((x.shape[0], self.units), x.dtype)
        state, outputs = jax.lax.scan(advance, (start,) * self.states, jnp.moveaxis(x, 1, 0))
        return jnp.moveaxis(outputs, 0, 1) if self.return_sequences else state[0]


@frozen
class SimpleRNN(Recurrent):
    """activation(x @ kernel + state @ recurrent_kernel + bias)."""

    def step(
        self, run: Run, weights: Mapping[str, Array], x: Array, state: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        return (self.activated(run, weights, x + state[0] @ weights["recurrent_kernel"]),)


@frozen
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997); gates in the order i, f, c, o."""

    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2

    recurrent_activation: str | Layer = setting(as_activation, "sigmoid")
    unit_forget_bias: bool = setting(settings.boolean, True)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        kernels = super().weights(shape)
        if not (self.use_bias and self.unit_forget_bias):
            return kernels
        drawn = self.bias_initializer
        forget = _ForgetGateOfOnes(drawn.name, drawn.settings)
        return (*kernels[:-1], dataclasses.replace(kernels[-1], initializer=forget))

    def step(
        self, run: Run, weights: Mapping[str, Array], x: Array, state: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        h, c = state
        i, f, candidate, o = jnp.split(x + h @ weights["recurrent_kernel"], 4, axis=1)
        i, f, o = (self.activated(run, weights, gate, "recurrent_activation") for gate in (i, f, o))
        c = f * c + i * self.activated(run, weights, candidate)
        return o * self.activated(run, weights, c), c


@frozen
class GRU(Recurrent):
    """Gated recurrent unit (Cho et al., arXiv 1406.1078); gates in the order z, r, h.

    With `reset_after`, Keras's default since 2.4, the reset gate acts behind the product with the
    state, and the bias is (2, 3U): of the inputs and of the state.
    """

    gates: ClassVar[int] = 3

    recurrent_activation: str | Layer = setting(as_activation, "sigmoid")
    reset_after: bool = setting(settings.boolean, True)

    @property
    def bias_shape(self) -> tuple[int, ...]:
        width = self.gates * self.units
        return (2, width) if self.reset_after else (width,)

    def input_bias(self, weights: Mapping[str, Array]) -> Array:
        return weights["bias"][0] if self.reset_after else weights["bias"]

    def step(
        self, run: Run, weights: Mapping[str, Array], x: Array, state: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        (h,) = state
        kernel, units = weights["recurrent_kernel"], self.units
        x_gates, x_candidate = x[:, : 2 * units], x[:, 2 * units :]
        inner = h @ (kernel if self.reset_after else kernel[:, : 2 * units])
        if self.use_bias and self.reset_after:
            inner = inner + weights["bias"][1][None]
        gates = self.activated(
            run, weights, x_gates + inner[:, : 2 * units], "recurrent_activation"
        )
        z, r = gates[:, :units], gates[:, units:]
        last = 2 * units
        recurrent = r * inner[:, last:] if self.reset_after else (r * h) @ kernel[:, last:]
        candidate = self.activated(run, weights, x_candidate + recurrent)
        return (z * h + (1 - z) * candidate,)


@frozen
class TimeDistributed(Layer):
    """A layer for every step of a sequence: (T, ...) becomes (T, ...)."""

    full_precision: ClassVar[bool] = True  # as the layer in it may need

    layer: Layer = setting(as_layer)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer.merges or self.layer.kind == "InputLayer":
            raise self.error(f"layer: expected a layer of one input, got {self.layer.kind}")
        if not self.layer.trainable:
            object.__setattr__(self, "trainable", False)

    def last_activation(self, ndim: int) -> str | None:
        return "other"

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        return self.weights_of("layer", shape[1:])

    def output_shape(self, *shapes: Shape) -> Shape:
        if len(shapes[0]) < 2:
            raise self.error(f"expected a sequence, (T, ...), got inputs of shape {shapes[0]}")
        self.known_size(shapes[0], 0)
        return (shapes[0][0], *self.layer.output_shape(shapes[0][1:]))

    def work(self, *shapes: Shape) -> Work:
        return self.layer.work(shapes[0][1:]).times(self.known_size(shapes[0], 0))

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        x = inputs[0]
        batch, steps = x.shape[:2]
        x = self.layer.forward(
            InnerRun(run, "layer"),
            inner_weights(weights, "layer"),
            x.reshape(batch * steps, *x.shape[2:]),
        )
        return x.reshape(batch, steps, *x.shape[1:])

    def affine(self) -> tuple[tuple[float, float], ...] | None:
        return self.layer.affine()


@frozen
class Bidirectional(Layer):
    """A recurrent layer forward and another backward, merged: by default side by side."""

    full_precision: ClassVar[bool] = True

    layer: Layer = setting(as_layer)
    # None: as the forward one, in the other direction
    backward_layer: Any = setting(settings.optional(as_layer), None)
    merge_mode: str = setting(settings.choice("concat", "sum", "ave", "mul"), "concat")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backward_layer is None and isinstance(self.layer, Recurrent):
            object.__setattr__(self, "backward_layer", self.reversed_layer)
        both = (self.layer, self.backward_layer)
        for inner in both:
            if not isinstance(inner, Recurrent):
                raise self.error(f"layer: expected a recurrent layer, got {inner.kind}")
        for name, differ in (("return_sequences", False), ("go_backwards", True), ("units", False)):
            if (len({getattr(inner, name) for inner in both}) == 2) != differ:
                relation = "different" if differ else "the same"
                raise self.error(f"backward_layer: expected {relation} {name} as the layer's")
        if not all(inner.trainable for inner in both):
            object.__setattr__(self, "trainable", False)

    def last_activation(self, ndim: int) -> str | None:
        return "other"

    @property
    def reversed_layer(self) -> Recurrent:
        """The backward layer that Keras makes of the forward one."""
        assert isinstance(self.layer, Recurrent)
        name = f"backward_{self.layer.name.removeprefix('forward_')}"
        backwards = not self.layer.go_backwards
        return dataclasses.replace(self.layer, name=name, go_backwards=backwards)

    @property
    def forward_layer(self) -> Layer:
        return self.layer

    @property
    def parts(self) -> tuple[str, ...]:
        # Keras 2 looks for "layer" as well, of which it has copied the forward one.
        return tuple(
            f"{part}/{inner}".rstrip("/")
            for part in ("forward_layer", "backward_layer", "layer")
            for inner in ("", *(self.backward_layer if "back" in part else self.layer).parts)
        )

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        forward, backward = (self.weights_of(f"{w}_layer", shape) for w in ("forward", "backward"))
        return (*forward, *backward)

    def output_shape(self, *shapes: Shape) -> Shape:
        shape = self.layer.output_shape(*shapes)
        width = self.known_size(shape, -1) * (2 if self.merge_mode == "concat" else 1)
        return (*shape[:-1], width)

    def work(self, *shapes: Shape) -> Work:
        return self.layer.work(*shapes) + self.backward_layer.work(*shapes)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        forward, backward = (
            layer.forward(InnerRun(run, part), inner_weights(weights, part), *inputs)
            for layer, part in (
                (self.layer, "forward_layer"),
                (self.backward_layer, "backward_layer"),
            )
        )
        if backward.ndim == 3:
            backward = backward[:, ::-1]
        if self.merge_mode == "concat":
            return jnp.concatenate([forward, backward], axis=-1)
        if self.merge_mode == "mul":
            return forward * backward
        return (forward + backward) / (2 if self.merge_mode == "ave" else 1)
