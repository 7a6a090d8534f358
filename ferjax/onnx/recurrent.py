"""Recurrent layers, written out step by step, and layers applied to every step of a sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ferjax.nets import layers
from ferjax.onnx.activations import activated
from ferjax.onnx.builder import TO_THE_END, Builder, Tensor

Write = Callable[[layers.Layer, Builder, Tensor], Tensor]
State = tuple[Tensor, ...]

_MOST_STEPS = 500


def _cut(b: Builder, x: Tensor, start: int, end: int) -> Tensor:
    """Return columns of (B, n)."""
    return b.node("Slice", x, b.integers(start), b.integers(end), b.integers(1))


def _plus_product(b: Builder, x: Tensor, state: Tensor, kernel: str) -> Tensor:
    return b.node("Add", x, b.node("MatMul", state, kernel))


def _simple_rnn(layer: layers.SimpleRNN, b: Builder) -> Callable[[Tensor, State], State]:
    kernel = b.weight("recurrent_kernel")
    return lambda x, state: (activated(b, layer.activation, _plus_product(b, x, state[0], kernel)),)


def _lstm(layer: layers.LSTM, b: Builder) -> Callable[[Tensor, State], State]:
    kernel, units = b.weight("recurrent_kernel"), layer.units

    def step(x: Tensor, state: State) -> State:
        x = _plus_product(b, x, state[0], kernel)
        # i and f side by side, then the new values, then o.
        gates = activated(b, layer.recurrent_activation, _cut(b, x, 0, 2 * units))
        candidate = activated(b, layer.activation, _cut(b, x, 2 * units, 3 * units))
        o = activated(b, layer.recurrent_activation, _cut(b, x, 3 * units, 4 * units))
        remembered = b.node("Mul", _cut(b, gates, units, 2 * units), state[1])
        c = b.node("Add", remembered, b.node("Mul", _cut(b, gates, 0, units), candidate))
        return b.node("Mul", o, activated(b, layer.activation, c)), c

    return step


def _gru(layer: layers.GRU, b: Builder) -> Callable[[Tensor, State], State]:
    units, array = layer.units, b.array("recurrent_kernel")
    gate_kernel = b.constant("gate_kernel", np.ascontiguousarray(array[:, : 2 * units]))
    new_kernel = b.constant("new_kernel", np.ascontiguousarray(array[:, 2 * units :]))
    bias = b.array("bias")[1] if layer.use_bias and layer.reset_after else None

    def step(x: Tensor, state: State) -> State:
        (h,) = state
        gates = _plus_product(b, _cut(b, x, 0, 2 * units), h, gate_kernel)
        if bias is not None:
            gates = b.node("Add", gates, b.constant("gate_bias", bias[: 2 * units]))
        gates = activated(b, layer.recurrent_activation, gates)
        z, r = _cut(b, gates, 0, units), _cut(b, gates, units, 2 * units)
        if layer.reset_after:
            inner = b.node("MatMul", h, new_kernel)
            if bias is not None:
                inner = b.node("Add", inner, b.constant("new_bias", bias[2 * units :]))
            inner = b.node("Mul", r, inner)
        else:
            inner = b.node("MatMul", b.node("Mul", r, h), new_kernel)
        candidate = b.node("Add", _cut(b, x, 2 * units, 3 * units), inner)
        candidate = activated(b, layer.activation, candidate)
        # z h + (1 - z) candidate
        return (b.node("Add", candidate, b.node("Mul", z, b.node("Sub", h, candidate))),)

    return step


_STEPS: dict[type, Callable[..., Callable[[Tensor, State], State]]] = {
    layers.SimpleRNN: _simple_rnn,
    layers.LSTM: _lstm,
    layers.GRU: _gru,
}


def _recurrent(layer: layers.Recurrent, b: Builder, x: Tensor) -> Tensor:
    steps = layer.known_size(x.shape, 0)
    if steps > _MOST_STEPS:
        raise layer.error(f"there is no ONNX for more than {_MOST_STEPS} steps, got {steps}")
    x = b.node("MatMul", b.plain(x), b.weight("kernel"))
    if layer.use_bias:
        bias = b.array("bias")
        x = b.node("Add", x, b.constant("bias", bias if bias.ndim == 1 else bias[0]))
    step, state, outputs = _STEPS[type(layer)](layer, b), None, []
    for number in reversed(range(steps)) if layer.go_backwards else range(steps):
        x_step = b.node("Gather", x, b.constant(f"step_{number}", np.array(number)), axis=1)
        x_step = Tensor(x_step.name, (layer.gates * layer.units,), (0, 1))
        if state is None:
            batch = b.node("Slice", b.node("Shape", x_step), b.integers(0), b.integers(1))
            sizes = b.node("Concat", batch, b.integers(layer.units), axis=0)
            state = (b.node("ConstantOfShape", sizes),) * layer.states  # zeros
        state = step(x_step, state)
        outputs.append(state[0])
    if not layer.return_sequences:
        return outputs[-1]
    rows = [b.node("Unsqueeze", output, b.integers(1), stored=(0, 1, 2)) for output in outputs]
    return b.node("Concat", *rows, axis=1)


def _bidirectional(layer: layers.Bidirectional, b: Builder, x: Tensor) -> Tensor:
    with b.inside("forward_layer"):
        forward = _recurrent(layer.layer, b, x)  # type: ignore[arg-type]
    with b.inside("backward_layer"):
        backward = _recurrent(layer.backward_layer, b, x)
    if backward.ndim == 3:
        parts = b.integers(-1), b.integers(-TO_THE_END), b.integers(1), b.integers(-1)
        backward = b.node("Slice", backward, *parts)
    if layer.merge_mode == "concat":
        return b.node("Concat", forward, backward, axis=forward.ndim - 1)
    merged = b.node("Mul" if layer.merge_mode == "mul" else "Add", forward, backward)
    return b.node("Div", merged, b.number(2)) if layer.merge_mode == "ave" else merged


def time_distributed(write: Write) -> Callable[[layers.TimeDistributed, Builder, Tensor], Tensor]:
    """Return what writes a layer for every step, as for a larger batch; `write` writes one."""

    def layer_of_every_step(layer: layers.TimeDistributed, b: Builder, x: Tensor) -> Tensor:
        steps, *inner = (layer.known_size(x.shape, axis) for axis in range(len(x.shape)))
        axes = tuple(range(len(inner) + 1))
        flat = b.node("Reshape", b.plain(x), b.integers(-1, *inner), stored=axes)
        with b.inside("layer"):
            result = write(layer.layer, b, dataclasses.replace(flat, shape=tuple(inner)))
        shape = layer.layer.output_shape(tuple(inner))
        sizes = [layer.known_size(shape, axis) for axis in range(len(shape))]
        axes = tuple(range(len(shape) + 2))
        return b.node("Reshape", b.plain(result), b.integers(-1, steps, *sizes), stored=axes)

    return layer_of_every_step


LAYERS: dict[type, Callable[..., Tensor]] = {
    layers.SimpleRNN: _recurrent,
    layers.LSTM: _recurrent,
    layers.GRU: _recurrent,
    layers.Bidirectional: _bidirectional,
}
