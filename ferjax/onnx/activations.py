"""Activations, by name and as layers, in the operations of ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ferjax.nets.layers import ELU, Activation, Layer, LeakyReLU, PReLU, ReLU, Softmax
from ferjax.onnx.builder import Builder, Tensor


def activated(b: Builder, activation: str | Layer, x: Tensor) -> Tensor:
    """Add an activation by its name, with the constants of `ferjax.nets.ops`, or as a layer."""
    if isinstance(activation, str):
        return ACTIVATIONS[activation](b, x)
    with b.inside("activation"):
        return LAYERS[type(activation)](activation, b, x)


def _linear(b: Builder, x: Tensor) -> Tensor:
    return x


def _operation(op: str, **attributes: Any) -> Callable[[Builder, Tensor], Tensor]:
    """Return the activation that is one operation."""
    return lambda b, x: b.node(op, x, **attributes)


def _clipped(low: float, high: float) -> Callable[[Builder, Tensor], Tensor]:
    return lambda b, x: b.node("Clip", x, b.number(low), b.number(high))


def _times(gate: Callable[[Builder, Tensor], Tensor]) -> Callable[[Builder, Tensor], Tensor]:
    """Return x * gate(x)."""
    return lambda b, x: b.node("Mul", x, gate(b, x))


def _over_last_axis(op: str) -> Callable[[Builder, Tensor], Tensor]:
    """Return a softmax over Keras's last axis, wherever it is stored."""
    return lambda b, x: b.node(op, x, axis=x.position(-1))


def _log_sigmoid(b: Builder, x: Tensor) -> Tensor:
    return b.node("Neg", b.node("Softplus", b.node("Neg", x)))


def _gelu(b: Builder, x: Tensor) -> Tensor:
    erf = b.node("Erf", b.node("Div", x, b.number(math.sqrt(2))))
    return b.node("Mul", b.node("Mul", x, b.node("Add", erf, b.number(1))), b.number(0.5))


def _squareplus(b: Builder, x: Tensor) -> Tensor:
    root = b.node("Sqrt", b.node("Add", b.node("Mul", x, x), b.number(4)))
    return b.node("Mul", b.node("Add", x, root), b.number(0.5))


def _sparse_plus(b: Builder, x: Tensor) -> Tensor:
    """Return 0 up to -1, x from 1 up, and (x + 1)^2 / 4 between; clipped, that is 0 below -1."""
    inside = b.node("Add", b.node("Clip", x, b.number(-1), b.number(1)), b.number(1))
    curve = b.node("Mul", b.node("Mul", inside, inside), b.number(0.25))
    return b.node("Where", b.node("GreaterOrEqual", x, b.number(1)), x, curve)


_hard_sigmoid = _operation("HardSigmoid", alpha=1 / 6, beta=0.5)
_silu = _times(_operation("Sigmoid"))

ACTIVATIONS: dict[str, Callable[[Builder, Tensor], Tensor]] = {
    "linear": _linear,
    "relu": _operation("Relu"),
    "relu6": _clipped(0, 6),
    "elu": _operation("Elu", alpha=1.0),
    "selu": _operation("Selu", alpha=1.6732632423543772, gamma=1.0507009873554805),
    "celu": _operation("Elu", alpha=1.0),  # of alpha 1 they are the same
    "tanh": _operation("Tanh"),
    "sigmoid": _operation("Sigmoid"),
    "log_sigmoid": _log_sigmoid,
    "softplus": _operation("Softplus"),
    "softsign": _operation("Softsign"),
    "swish": _silu,
    "silu": _silu,
    "mish": _times(lambda b, x: b.node("Tanh", b.node("Softplus", x))),
    "gelu": _gelu,
    "leaky_relu": _operation("LeakyRelu", alpha=0.2),
    "hard_sigmoid": _hard_sigmoid,
    "keras2_hard_sigmoid": _operation("HardSigmoid", alpha=0.2, beta=0.5),
    "hard_silu": _times(_hard_sigmoid),
    "hard_swish": _times(_hard_sigmoid),
    "hard_tanh": _clipped(-1, 1),
    "hard_shrink": _operation("Shrink", lambd=0.5, bias=0.0),
    "soft_shrink": _operation("Shrink", lambd=0.5, bias=0.5),
    "tanh_shrink": lambda b, x: b.node("Sub", x, b.node("Tanh", x)),
    "squareplus": _squareplus,
    "sparse_plus": _sparse_plus,
    "exponential": _operation("Exp"),
    "softmax": _over_last_axis("Softmax"),
    "log_softmax": _over_last_axis("LogSoftmax"),
}


def _activation(layer: Activation, b: Builder, x: Tensor) -> Tensor:
    return activated(b, layer.activation, x)


def _relu(layer: ReLU, b: Builder, x: Tensor) -> Tensor:
    threshold, slope = layer.threshold, layer.negative_slope
    if slope and not threshold and layer.max_value is None:
        return b.node("LeakyRelu", x, alpha=slope)
    if threshold:
        above = b.node("Greater", x, b.number(threshold))
        result = b.node("Where", above, x, b.number(0))
    else:
        result = b.node("Relu", x)
    if layer.max_value is not None:
        result = b.node("Clip", result, b.number(0), b.number(layer.max_value))
    if slope:
        below = b.node("Sub", b.number(threshold), x)
        result = b.node("Sub", result, b.node("Mul", b.node("Relu", below), b.number(slope)))
    return result


def _leaky_relu(layer: LeakyReLU, b: Builder, x: Tensor) -> Tensor:
    return b.node("LeakyRelu", x, alpha=layer.negative_slope)


def _prelu(layer: PReLU, b: Builder, x: Tensor) -> Tensor:
    return b.node("PRelu", x, b.spread("alpha", b.array("alpha"), x))


def _elu(layer: ELU, b: Builder, x: Tensor) -> Tensor:
    return b.node("Elu", x, alpha=layer.alpha)


def _softmax(layer: Softmax, b: Builder, x: Tensor) -> Tensor:
    axes = layer.axis if isinstance(layer.axis, tuple) else (layer.axis,)
    stored = sorted(x.position(axis) for axis in axes)
    if len(stored) == 1:
        return b.node("Softmax", x, axis=stored[0])
    if not stored:
        raise layer.error("axis: expected an axis, got none")
    # Of several axes: ONNX's own softmax goes over one.
    exp = b.node("Exp", b.node("Sub", x, b.node("ReduceMax", x, axes=stored)))
    return b.node("Div", exp, b.node("ReduceSum", exp, b.integers(*stored)))


LAYERS: dict[type, Callable[..., Tensor]] = {
    Activation: _activation,
    ReLU: _relu,
    LeakyReLU: _leaky_relu,
    PReLU: _prelu,
    ELU: _elu,
    Softmax: _softmax,
}
