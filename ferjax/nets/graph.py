"""A network as data: which layers there are and which feeds which."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ferjax.errors import LayerError
from ferjax.nets import value_range
from ferjax.nets.layers import InputLayer, Layer, Shape, Weight, snake_case
from ferjax.nets.layers.work import num_values

_SIGMOIDS = ("sigmoid", "hard_sigmoid", "keras2_hard_sigmoid")
_MOST_VALUES = 1 << 28  # of one image, in what a layer gives or holds on the way: 1 GiB
_MOST_HELD = 1 << 29  # of one image, at a time
_MOST_OF_ALL = 1 << 33  # of one image, in what all layers take, hold and give
_MOST_OPERATIONS = 1 << 39  # of all layers for one image, as `Work` counts them
# Beside those that only move values, these make of numbers in [0, 1] such numbers; a mean of
# several networks' sigmoids is one.
_KEEP_UNIT_INTERVAL = ("Average", "Maximum", "Minimum", "Multiply")


@dataclass(frozen=True)
class Call:
    """One application of a layer; a layer that is shared has several."""

    layer: str
    inputs: tuple[int, ...]  # positions in `Graph.calls`, all before this one


@dataclass(frozen=True)
class Graph:
    """Layers and their connections, from one input to one output.

    Attributes:
        layers: in the order of the Keras model, which is the order of its weights; the first
            call's layer is the InputLayer.
        calls: in an order in which they can be computed; the last is the output.
        name: the model's name.
        functional: whether Keras has it as a functional model; a chain may be either.
        input_range: what black and white are to the network where its weights tell, such as a
            Normalization's statistics; None: see `value_range`.
    """

    layers: tuple[Layer, ...]
    calls: tuple[Call, ...]
    name: str = "sequential"
    functional: bool = False
    input_range: tuple[float, float] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(self.by_name) != len(self.layers):
            names = [layer.name for layer in self.layers]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise LayerError(
                f"expected unique layer names, got {', '.join(map(repr, twice))} twice"
            )
        unused = set(self.by_name) - {call.layer for call in self.calls}
        if unused:
            raise LayerError(f"layers that nothing calls: {', '.join(sorted(map(repr, unused)))}")
        for position, call in enumerate(self.calls):
            layer = self.by_name[call.layer]
            if any(not 0 <= i < position for i in call.inputs):
                raise layer.error("it is called before its inputs are known")
            is_input = isinstance(layer, InputLayer)
            if is_input != (position == 0):
                raise layer.error("expected one InputLayer, as the first call")
            if bool(call.inputs) if is_input else not layer.takes(len(call.inputs)):
                raise layer.error(f"it cannot take {len(call.inputs)} inputs")
        if not (self.functional or self.is_chain):
            raise LayerError("expected functional=True for layers that are not a chain")
        _ = self.weights  # every shape is known to fit from here on
        self._check_work()

    @classmethod
    def sequential(
        cls, layers: Iterable[Layer], *, input_shape: Shape | None = None, name: str = "sequential"
    ) -> Graph:
        """Chain `layers`; empty names are filled in as Keras does, `conv2d`, `conv2d_1`, ...

        Args:
            input_shape: (H, W, C), where `layers` does not begin with an InputLayer.
        """
        chain = list(layers)
        if input_shape is not None:
            chain.insert(0, InputLayer(name="input", shape=input_shape))
        named = auto_named(chain)
        calls = [
            Call(layer.name, (position - 1,) if position else ())
            for position, layer in enumerate(named)
        ]
        return cls(tuple(named), tuple(calls), name)

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @property
    def input(self) -> InputLayer:
        layer = self.by_name[self.calls[0].layer]
        assert isinstance(layer, InputLayer)
        return layer

    @property
    def input_shape(self) -> Shape:
        """(H, W, C), or (C, H, W) where the first layers are channels_first."""
        return self.input.shape

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The output shape of each call, without the batch axis."""
        shapes: list[Shape] = []
        for call in self.calls:
            layer = self.by_name[call.layer]
            if isinstance(layer, InputLayer):
                shapes.append(layer.shape)
            else:
                shapes.append(output_shape(layer, *(shapes[i] for i in call.inputs)))
        return tuple(shapes)

    def check_input(self, shape: Sequence[int]) -> None:
        """Raise a LayerError where a network of open size cannot take inputs of a shape, or takes
        too long for them; of other networks that is known from the beginning.

        Args:
            shape: without the batch axis.
        """
        if None in self.input_shape and self.takes(shape) and tuple(shape) not in self._checked:
            sized = dataclasses.replace(self.input, shape=tuple(shape))
            # A graph checks itself when it is made.
            self.map_layers(lambda layer: sized if layer is self.input else layer)
            self._checked.add(tuple(shape))

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether inputs of a shape are of the input's, whose open sizes may be any."""
        expected = self.input_shape
        return len(shape) == len(expected) and all(e in (None, s) for s, e in zip(shape, expected))

    @cached_property
    def _checked(self) -> set[tuple[int, ...]]:
        return set()

    def _check_work(self) -> None:
        """Raise a LayerError for the layer with which an image takes too long, or too much."""
        values = operations = 0
        sizes = [num_values(shape) for shape in self.shapes]
        last_use = {i: position for position, call in enumerate(self.calls) for i in call.inputs}
        held = sizes[0]
        for position, call in enumerate(self.calls[1:], start=1):
            layer = self.by_name[call.layer]
            work = layer.work(*(self.shapes[i] for i in call.inputs))
            _check_values(layer, work.values)
            held += sizes[position]
            values += work.values + sizes[position] + sum(sizes[i] for i in call.inputs)
            operations += work.operations
            for count, most, when in (
                (held + work.values, _MOST_HELD, "at a time"),
                (values, _MOST_OF_ALL, "in all layers"),
            ):
                if count > most:
                    raise layer.error(
                        f"expected at most {most} values of an image {when}, got {count} up to "
                        "this layer"
                    )
            held -= sum(sizes[i] for i in set(call.inputs) if last_use[i] == position)
            if operations > _MOST_OPERATIONS:
                raise layer.error(
                    f"expected at most {_MOST_OPERATIONS} multiply-adds for an image in all "
                    f"layers, got {operations} up to this layer"
                )

    @property
    def output_shape(self) -> Shape:
        return self.shapes[-1]

    @cached_property
    def weights(self) -> dict[str, tuple[Weight, ...]]:
        """The arrays of each layer that has any, by layer name in the layers' order."""
        weights: dict[str, tuple[Weight, ...]] = {}
        for call in self.calls:
            layer = self.by_name[call.layer]
            if isinstance(layer, InputLayer):
                continue
            described = layer.weights(self.shapes[call.inputs[0]])
            if weights.setdefault(call.layer, described) != described:
                raise layer.error("it is shared between inputs of different sizes")
        return {layer.name: weights[layer.name] for layer in self.layers if weights.get(layer.name)}

    def trainable_weights(self) -> list[tuple[str, Weight]]:
        """Return (layer name, weight) of what an optimizer changes, in Keras's order."""
        return [
            (name, weight)
            for name, weights in self.weights.items()
            if self.by_name[name].trainable
            for weight in weights
            if weight.collection == "params"
        ]

    @property
    def num_params(self) -> int:
        """The number of all values in all weights, batch statistics included, as Keras counts."""
        return sum(math.prod(w.shape) for weights in self.weights.values() for w in weights)

    @property
    def is_chain(self) -> bool:
        """Whether each layer is called once and takes what the layer before it gives."""
        return is_chain(self.layers, self.calls)

    def map_layers(self, change: Callable[[Layer], Layer]) -> Graph:
        """Return the graph with each layer replaced by what `change` makes of it, names kept."""
        return dataclasses.replace(self, layers=tuple(map(change, self.layers)))

    def leading_to(self, position: int) -> Graph:
        """Return the graph whose output is that of one call, without what does not lead to it."""
        needed = {0, position}
        for later in range(position, 0, -1):
            if later in needed:
                needed.update(self.calls[later].inputs)
        if len(needed) == len(self.calls):
            return self
        positions = sorted(needed)
        renumbered = {before: after for after, before in enumerate(positions)}
        calls = tuple(
            Call(self.calls[i].layer, tuple(renumbered[k] for k in self.calls[i].inputs))
            for i in positions
        )
        called = {call.layer for call in calls}
        layers = tuple(layer for layer in self.layers if layer.name in called)
        return dataclasses.replace(self, layers=layers, calls=calls)

    @cached_property
    def data_format(self) -> str:
        """The order of the input's axes, as the first layers on images that state one read it."""
        reached = {0}
        for position, call in enumerate(self.calls):
            if position and not reached.isdisjoint(call.inputs):
                layer = self.by_name[call.layer]
                if hasattr(layer, "data_format") and len(self.shapes[call.inputs[0]]) == 3:
                    return str(layer.data_format)
                reached.add(position)
        return "channels_last"

    @property
    def image_shape(self) -> tuple[int | None, int | None, int | None]:
        """(H, W, C) of the input images, whatever the order of their axes."""
        shape = self.input_shape
        if len(shape) != 3:
            raise LayerError(f"expected a network over images, (H, W, C), got inputs of {shape}")
        if self.data_format == "channels_first":
            return shape[1], shape[2], shape[0]
        return shape[0], shape[1], shape[2]

    @property
    def value_range(self) -> tuple[float, float]:
        """What black and white are to the network: `input_range`, or what its layers say.

        [0, 255] before a scaling by about 1/255 or the subtraction of gray levels, [-1, 1] before
        the addition of 1, else [0, 1].
        """
        return self.input_range or value_range.of_layers(self)

    def with_statistics(self, variables: Mapping[str, Any]) -> Graph:
        """Return the graph with the `input_range` that the statistics in its weights tell, if any.

        That they fit no usual range is an error only where images are to be predicted.
        """
        try:
            input_range = value_range.of_statistics(self, variables)
        except LayerError:
            return self
        return self if input_range is None else dataclasses.replace(self, input_range=input_range)

    @property
    def final_call(self) -> int:
        """The last call that computes something at inference and does not only rearrange."""
        return self._computing[-1]

    @property
    def final_activation(self) -> str:
        """The activation that the output went through: "softmax", "linear", ...; else "other"."""
        activation = self._activations[self.final_call]
        # The output's last axis has to be the one that the softmax went over.
        if activation.endswith("softmax") and (
            self.shapes[self.final_call][-1] != self.output_shape[-1]
        ):
            return "other"
        return activation

    @property
    def ends_in_unit_interval(self) -> bool:
        """Whether all outputs lie in [0, 1] and may lie anywhere there, as those of sigmoids."""
        bounded: list[bool] = []
        for call, activation in zip(self.calls, self._activations):
            layer = self.by_name[call.layer]
            keeps = layer.moves or layer.kind in _KEEP_UNIT_INTERVAL
            inside = keeps and all(bounded[self._computing[i]] for i in call.inputs)
            bounded.append(inside if keeps else activation in _SIGMOIDS)
        return bounded[self.final_call]

    @cached_property
    def _computing(self) -> tuple[int, ...]:
        """For each call, itself or, where it only reshapes, the last before that does not."""
        positions: list[int] = []
        for position, call in enumerate(self.calls):
            layer = self.by_name[call.layer]
            positions.append(positions[call.inputs[0]] if layer.only_reshapes else position)
        return tuple(positions)

    @cached_property
    def _activations(self) -> tuple[str, ...]:
        """The activation of each call's output: its name, or "other"."""
        activations: list[str] = []
        for position, call in enumerate(self.calls):
            inputs = {activations[self._computing[i]] for i in call.inputs}
            activations.append(self._activation(position, inputs))
        return tuple(activations)

    def _activation(self, position: int, inputs: set[str]) -> str:
        layer = self.by_name[self.calls[position].layer]
        activation = layer.last_activation(len(self.shapes[position]))
        if activation is not None:
            return activation
        if layer.name in self.weights or isinstance(layer, InputLayer):
            return "linear"
        # Pooling and merging: of logits they make logits, of anything else something else.
        return "linear" if inputs == {"linear"} else "other"


def output_shape(layer: Layer, *shapes: Shape) -> Shape:
    """Return the shape of what a layer gives, without the batch axis.

    Raises:
        LayerError: the inputs do not fit the layer, or it makes more of them than memory holds.
    """
    shape = layer.output_shape(*shapes)
    _check_values(layer, num_values(shape))
    return shape


def _check_values(layer: Layer, values: int) -> None:
    if values > _MOST_VALUES:
        raise layer.error(f"expected at most {_MOST_VALUES} values of an image, got {values}")


def is_chain(layers: Sequence[Layer], calls: Sequence[Call]) -> bool:
    """Whether each layer is called once and takes what the layer before it gives."""
    return len(calls) == len(layers) and all(
        call.layer == layer.name and call.inputs == ((position - 1,) if position else ())
        for position, (layer, call) in enumerate(zip(layers, calls))
    )


def auto_named(layers: Sequence[Layer]) -> list[Layer]:
    """Fill in empty names as Keras does: the class in snake case, then _1, _2, ..."""
    names = {layer.name for layer in layers}
    counts: dict[str, int] = {}
    named = []
    for layer in layers:
        name = layer.name
        while not name:
            stem = snake_case(layer.kind)
            count = counts.get(stem, 0)
            counts[stem] = count + 1
            candidate = f"{stem}_{count}" if count else stem
            name = candidate if candidate not in names else ""
        named.append(layer if layer.name else dataclasses.replace(layer, name=name))
    return named
