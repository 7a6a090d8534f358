"""What a run begins with: which network, and which weights; `training_data` has the images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferjax import hub, keras, metadata, released
from ferjax.data.augment import AugmentationError
from ferjax.data.dataset import Faces
from ferjax.emotions import EMOTIONS, positions
from ferjax.errors import LabelsError, LayerError
from ferjax.keras import KerasModel, OptimizerState
from ferjax.keras.model_config import keras_version, model_config
from ferjax.keras.optimizer import training_config
from ferjax.nets.architectures import ARCHITECTURES, architecture
from ferjax.nets.graph import Graph
from ferjax.nets.head import Head, has_logits
from ferjax.nets.known import recognise
from ferjax.nets.layers import Dropout, Layer, SpatialDropout2D
from ferjax.nets.network import Network
from ferjax.nets.variables import to_variables
from ferjax.train.distillation import PathLike
from ferjax.train.errors import TrainingError
from ferjax.train.recipes import Recipe
from ferjax.weights import read

_COMPILED = "compile_config"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A network, and the weights that it starts from; without `model` they are drawn."""

    network: Network
    model: KerasModel | None = None

    @property
    def description(self) -> dict[str, Any]:
        """The network as a Keras config, from which `recorded_start` makes it."""
        graph = self.network.graph
        stated = {} if graph.input_range is None else {"input_range": list(graph.input_range)}
        return {"keras_version": keras_version(graph), **stated, **model_config(graph)}

    @property
    def recorded(self) -> dict[str, Any]:
        """The description, with what is known of the optimizer: weights alone do not say it."""
        state = None if self.model is None else self.model.optimizer_state
        if state is None:
            return self.description
        return {**self.description, _COMPILED: training_config(state, keras_3=True)}

    def is_of(self, recorded: Mapping[str, Any]) -> bool:
        """Return whether a run that recorded this began with the same network."""
        return self.description == {k: v for k, v in recorded.items() if k != _COMPILED}


def zeros(graph: Graph) -> dict[str, Any]:
    """Return variables of the right shapes, for a checkpoint to fill."""
    weights = [(layer, weight) for layer, weights in graph.weights.items() for weight in weights]
    arrays = {(layer, w.name): np.zeros(w.shape, w.dtype) for layer, w in weights}
    return to_variables(graph, arrays)


def start(
    recipe: Recipe,
    faces: Faces,
    *,
    init: PathLike | None = None,
    architecture: PathLike | Network | None = None,
) -> Start:
    """Return the network, and weights to start from where `init` names any.

    Args:
        init: a weight file of Keras or Flax.
        architecture: a name, a model.json, a Keras file, or a Network; None: as in `init`, or the
            recipe's.

    Raises:
        WeightFileError: `init` or the architecture cannot be read.
        TrainingError: data and network do not fit together.
    """
    model = None if init is None else _read_weights(init, architecture)
    graph = _graph(recipe, architecture, faces) if model is None else model.graph
    network = Network(graph)
    _check_fits(network, faces, recipe, model)
    return Start(network=network, model=model)


def default_init(
    recipe: Recipe, faces: Faces, architecture: PathLike | Network | None = None
) -> Path:
    """Return the weights that ferjax brings along, for a recipe that goes on from them.

    Raises:
        TrainingError: another network was asked for, or the data has other classes.
    """
    network = recipe.architecture if architecture is None else architecture
    name = "another network" if isinstance(network, Network) else str(network)
    if name != released.FER2013:
        raise TrainingError(
            f"recipe {recipe.name} goes on from ferjax's weights of {released.FER2013}: expected "
            f"`init` for {name} (--init WEIGHTS)"
        )
    if faces.class_names != EMOTIONS:
        raise TrainingError(
            f"recipe {recipe.name} goes on from ferjax's weights for "
            f"{', '.join(EMOTIONS)}: expected `init` for the data's classes, "
            f"{', '.join(faces.class_names)} (--init WEIGHTS)"
        )
    return released.path_of(released.FER2013)


def recorded_start(recorded: Mapping[str, Any], init: PathLike | None) -> Start:
    """Return the start of a run that was begun before.

    Args:
        recorded: `Start.recorded`.
        init: weights to start from; None: they are drawn, or a checkpoint has them.
    """
    model = None if init is None else _read_weights(init, recorded)
    graph = keras.load_architecture(recorded).graph
    if input_range := recorded.get("input_range"):
        graph = dataclasses.replace(graph, input_range=tuple(input_range))
    return Start(network=Network(graph), model=model)


def _read_weights(
    init: PathLike, architecture: PathLike | Network | Mapping[str, Any] | None
) -> KerasModel:
    if isinstance(architecture, Network):
        architecture = Start(network=architecture).description
    if isinstance(architecture, str) and architecture in ARCHITECTURES:
        return read(init, None, architecture, with_optimizer=True)
    return read(init, architecture, None, with_optimizer=True)


def _graph(recipe: Recipe, chosen: PathLike | Network | None, faces: Faces) -> Graph:
    """Return the chosen network, or the recipe's; a named one with its dropout scaled."""
    if isinstance(chosen, Network):
        return chosen.graph
    name = str(recipe.architecture if chosen is None else hub.local(chosen))
    if os.path.isfile(name) or os.path.isdir(name):
        return keras.load_architecture(name).graph
    if name not in ARCHITECTURES and Path(name).suffix:
        raise TrainingError(f"{name}: no such file")
    network = architecture(name, num_classes=len(faces.class_names))
    return with_dropout(network.graph, recipe.dropout_scale)


def with_dropout(graph: Graph, scale: float) -> Graph:
    """Return the graph with every dropout layer's rate times `scale`."""

    def scaled(layer: Layer) -> Layer:
        if not isinstance(layer, Dropout | SpatialDropout2D):
            return layer
        return dataclasses.replace(layer, rate=layer.rate * scale)

    try:
        return graph.map_layers(scaled)
    except LayerError as error:
        raise TrainingError(f"`dropout_scale`: {scale:g} is too much: {error}") from None


def _check_fits(network: Network, faces: Faces, recipe: Recipe, model: KerasModel | None) -> None:
    """Refuse a network and weights that the data's classes, images or the loss do not suit."""
    graph = network.graph
    num_classes, names = len(faces.class_names), ", ".join(faces.class_names)
    try:
        outputs = Head.of(graph).num_classes
    except LayerError as error:
        raise TrainingError(str(error)) from None
    if outputs != num_classes:
        raise TrainingError(
            f"expected a network with an output for each of the data's {num_classes} classes "
            f"({names}), got one of shape {graph.output_shape}, which tells {outputs} apart; "
            "without --init and --architecture recipes such as fast make one for the classes"
        )
    if model is not None:
        _check_weights(model, faces)
    if not has_logits(graph):
        raise TrainingError(
            "expected a network that ends in a softmax, in logits or, for two classes, in one "
            f"sigmoid unit, its last activation is {graph.final_activation!r}"
        )
    height, width, channels = graph.image_shape
    size = (faces.images.shape[1], faces.images.shape[2])
    try:
        augmented_size = recipe.augmentation.output_size(*size)
    except AugmentationError as error:
        raise TrainingError(str(error)) from None
    for images, (h, w) in (("images", size), ("augmented images", augmented_size)):
        if height not in (None, h) or width not in (None, w):
            raise TrainingError(
                f"expected {images} of {height}x{width}, as the network takes, got {h}x{w}"
            )
    if channels not in (1, 3):
        raise TrainingError(f"expected a network for 1 or 3 channels, it takes {channels}")
    if not graph.trainable_weights():
        raise TrainingError("the network has no weights that can be trained")


def _check_weights(model: KerasModel, faces: Faces) -> None:
    """Refuse weights that name other classes, or another range of values, than they would have."""
    labels = model.labels
    in_order = list(range(len(faces.class_names)))
    if labels is not None and positions(labels, faces.class_names) != in_order:
        raise LabelsError(
            f"expected weights for the data's classes in their order, "
            f"{', '.join(faces.class_names)}, got {', '.join(labels)}"
        )
    stated, own = metadata.value_range(model.metadata, model.path), model.graph.value_range
    if stated is not None and stated != own:
        low, high = stated
        raise TrainingError(
            f"{model.path}: takes images in [{low:g}, {high:g}] by its metadata, its layers are "
            f"given [{own[0]:g}, {own[1]:g}] in training; put Rescaling({high - low:g}, "
            f"offset={low:g}) before them and leave value_range out"
        )


def label_note(model: KerasModel, faces: Faces) -> str | None:
    """Return what to know of the order of a file's outputs; None where it has class names."""
    if model.labels is not None:
        return None
    names = ", ".join(faces.class_names)
    note = f"{model.path}: has no class names; its outputs are taken for the data's, {names}"
    network = recognise(model.graph)
    if network is None:
        return f"{note} (`ferjax inspect {model.path} --data FACES` tells their order)"
    if positions(network.labels, faces.class_names) == list(range(len(faces.class_names))):
        return f"{note}, as those of {network.name} are"
    return f"{note}, but those of {network.name} are {', '.join(network.labels)} ({network.source})"


def adam_moments(recipe: Recipe, model: KerasModel) -> tuple[OptimizerState | None, list[str]]:
    """Return Adam's moments of a file where they are taken over, and what to know of that."""
    adam = model.optimizer_state
    notes = [f"{model.path}: {note}" for note in model.notes if note.startswith("optimizer")]
    if adam is None:
        return None, notes
    if recipe.optimizer == "sgd":
        return None, [
            f"{model.path}: the moments of {adam.name} are left out: the recipe's optimizer is sgd"
        ]
    notes = [f"{model.path}: {adam.name} goes on after {adam.step:,} steps", *notes]
    settings = {"weight_decay": 0.0, **adam.settings}
    for name in ("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay"):
        theirs, ours = settings.get(name), getattr(recipe, name)
        if theirs is not None and not np.isclose(theirs, ours, rtol=1e-6, atol=0):
            notes.append(
                f"{name} was {theirs:g} there and is {ours:g} here "
                f"(--set {name}={theirs:g} goes on with it)"
            )
    if settings["weight_decay"] and recipe.weight_decay:
        notes.append("Keras decays every weight, ferjax the kernels alone")
    return adam, notes
