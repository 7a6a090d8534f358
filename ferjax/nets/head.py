"""What a network's outputs say of classes: how many it tells apart, and how probable each is.

K outputs are K classes. One unit whose output lies in [0, 1], as a sigmoid's does, tells two apart:
it is the probability of the second, which the network says from 0.5 on. Nothing else knows of that
unit: behind this module a network of two classes is one, however many units it ends in.

Dimension keys: B batch, U units, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax import emotions
from ferjax._lazy import LazyModule
from ferjax.emotions import Labels
from ferjax.errors import LabelsError, LayerError
from ferjax.nets.graph import Graph
from ferjax.nets.layers import Activation, Layer, Softmax

jnp: Any = LazyModule("jax.numpy")

# Of one unit, an error says what may be done.
_ONE_UNIT: Final = {
    "softmax": "a softmax over one unit, which gives 1 for every image: the network can only ever "
    "say one thing; two classes need a sigmoid, or a softmax over two units",
    "log_softmax": "a log_softmax over one unit, which gives 0 for every image: the network can "
    "only ever say one thing; two classes need a sigmoid, or a softmax over two units",
    "linear": "one linear unit, which may be the logit of two classes or a regression; for a "
    "logit, save the model with Activation('sigmoid') behind it",
}


@dataclass(frozen=True)
class Head:
    """How outputs become probabilities; `Head.of(graph)`.

    Attributes:
        num_classes: K.
        activation: as `Graph.final_activation`.
        is_single_unit: whether one unit tells two classes apart.
    """

    num_classes: int
    activation: str
    is_single_unit: bool = False

    @classmethod
    def of(cls, graph: Graph) -> Head:
        """Return the head of a network that classifies.

        Raises:
            LayerError: it does not: its output is not (K,), or one unit that is no probability.
        """
        shape, activation = graph.output_shape, graph.final_activation
        if len(shape) != 1 or shape[0] is None:
            raise LayerError(f"expected an output of (K,), the network gives {shape}")
        if shape != (1,):
            return cls(shape[0], activation)
        if graph.ends_in_unit_interval:
            return cls(2, activation, is_single_unit=True)
        reason = _ONE_UNIT.get(activation)
        if reason is None:
            named = "" if activation == "other" else f" of activation {activation!r}"
            reason = f"one unit{named} that nothing makes a probability, as of a regression"
        raise LayerError(f"expected a network that classifies, it ends in {reason}")

    @property
    def gives_distribution(self) -> bool:
        """Whether probabilities are known to sum to 1, whatever the weights."""
        return self.is_single_unit or self.activation in ("softmax", "log_softmax", "linear")

    def probabilities(self, outputs: Any) -> Any:
        """Return probabilities, float (B, K), from what the network gives, (B, U).

        Of NumPy's arrays NumPy's, of JAX's JAX's.

        >>> Head(2, "sigmoid", is_single_unit=True).probabilities(np.float32([[0.25]])).tolist()
        [[0.75, 0.25]]
        """
        xp: Any = np if isinstance(outputs, np.ndarray) else jnp
        if self.is_single_unit:
            return xp.concatenate([1 - outputs, outputs], axis=-1)
        if self.activation == "linear":  # trained on logits
            raised = xp.exp(outputs - outputs.max(-1, keepdims=True))
            return raised / raised.sum(-1, keepdims=True)
        return xp.exp(outputs) if self.activation == "log_softmax" else outputs

    def logits(self, units: Any) -> Any:
        """Return logits, (B, K), from those of the units, (B, U), as `Network` gives them.

        One unit's is the log odds of the second class: beside a logit of 0 their softmax is
        [1 - p, p], and the softmax cross-entropy is the binary one.
        """
        if not self.is_single_unit:
            return units
        return jnp.concatenate([jnp.zeros_like(units), units], axis=-1)

    def scores(self, units: Any) -> Any:
        """Return scores, (B, K), of which each grows with its class, from logits or outputs."""
        return jnp.concatenate([-units, units], axis=-1) if self.is_single_unit else units

    def predicted(self, probabilities: Any) -> Any:
        """Return the index of the class that is said, integers (B,), of probabilities or logits.

        The most probable; of equally probable ones the first, but with a single unit the second,
        which it says from 0.5 on.

        >>> Head(2, "sigmoid", is_single_unit=True).predicted(np.float32([[0.5, 0.5]])).tolist()
        [1]
        """
        if self.is_single_unit:
            return (probabilities[..., 1] >= probabilities[..., 0]).astype("int32")
        return probabilities.argmax(-1)

    def ranked(self, probabilities: Sequence[float] | npt.NDArray[Any]) -> list[int]:
        """Return all indices of one image, (K,), the class that is said first."""
        row = np.asarray(probabilities)
        order = np.argsort(-row, kind="stable").tolist()
        first = int(self.predicted(row[None])[0])
        return [first, *(index for index in order if index != first)]


def checked_labels(labels: Labels, graph: Graph) -> list[str]:
    """Return label names as a list, once there is a different one for each class of the network.

    Of a network that does not classify, for each number that it gives.

    Raises:
        LabelsError: there is not.
    """
    is_single = _is_single_unit(graph)
    try:
        return emotions.class_names(labels, 2 if is_single else graph.output_shape[-1])
    except LabelsError as error:
        if is_single:
            raise LabelsError(
                f"{error}; one unit tells two classes apart, it gives the second's probability"
            ) from None
        if graph.output_shape == (1,):
            try:
                Head.of(graph)
            except LayerError as why:
                raise LabelsError(f"{error}; {why}") from None
        raise


def has_logits(graph: Graph) -> bool:
    """Whether a network without its last activation gives logits."""
    end = graph.final_activation
    return end in ("softmax", "linear") or (end == "sigmoid" and _is_single_unit(graph))


def without_activation(layer: Layer) -> Layer:
    """Return the last layer of a network such that it gives logits: without its activation."""
    if isinstance(layer, Softmax):
        return Activation(name=layer.name, activation="linear")
    return dataclasses.replace(layer, activation="linear")  # type: ignore[call-arg]


def _is_single_unit(graph: Graph) -> bool:
    return graph.output_shape == (1,) and graph.ends_in_unit_interval
