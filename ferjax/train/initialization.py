"""What a run begins with: which network, and which weights; `training_data` has the images."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ferjax import keras, metadata, released
from ferjax.data.augment import AugmentationError
from ferjax.data.dataset import Faces
from ferjax.emotions import EMOTIONS, positions
from ferjax.errors import LabelsError, LayerError
from ferjax.keras import KerasModel
from ferjax.keras.model_config import keras_version, model_config
from ferjax.keras.optimizer import training_config
from ferjax.nets.architectures import ARCHITECTURES, architecture
from ferjax.nets.graph import Graph
from ferjax.nets.head import Head, has_logits
from ferjax.nets.known import recognise
from ferjax.nets.layers import Dropout, Layer, SpatialDropout2D
from ferjax.nets.network import Network
from ferjax.train.errors import TrainingError
from ferjax.train.recipes import Recipe
from ferjax.weights import read

PathLike = str | os.PathLike[str]
_COMPILED = "compile_config"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A network, and the weights that it starts from; without `model` they are drawn."""

    network: Network
    model: KerasModel | None = None

    @property
    def description(self) -> dict[str, Any]:
        """The network as a Keras config, from which `again` makes it."""
        graph = self.network.graph
        known = {} if graph.input_range is None else {"input_range": list(graph.input_range)}
        return {"keras_version": keras_version(graph), **known, **model_config(graph)}

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
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for layer, weights in graph.weights.items():
        for weight in weights:
            group = variables[weight.collection].setdefault(layer, {})
            group[weight.name] = np.zeros(weight.shape, weight.dtype)
    return variables


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
    model = None
    if init is not None:
        model = _read_weights(init, architecture)
        graph = model.graph
    else:
        graph = _graph(recipe, architecture, faces)
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
    known = released.FER2013
    wanted = recipe.architecture if architecture is None else architecture
    if isinstance(wanted, Network) or str(wanted) != known:
        what = "another network" if isinstance(wanted, Network) else str(wanted)
        raise TrainingError(
            f"recipe {recipe.name} goes on from ferjax's weights of {known}: expected "
            f"`init` for {what} (--init WEIGHTS)"
        )
    if faces.class_names != EMOTIONS:
        raise TrainingError(
            f"recipe {recipe.name} goes on from ferjax's weights for "
            f"{', '.join(EMOTIONS)}: expected `init` for the data's classes, "
            f"{', '.join(faces.class_names)} (--init WEIGHTS)"
        )
    return released.path_of(released.FER2013)


def again(description: Mapping[str, Any], init: PathLike | None) -> Start:
    """Return the start of a run that was begun before; `Start.recorded` made `description`."""
    model = None if init is None else _read_weights(init, description)
    graph = keras.load_architecture(description).graph
    if known := description.get("input_range"):
        graph = dataclasses.replace(graph, input_range=tuple(known))
    return Start(network=Network(graph), model=model)


def _read_weights(
    init: PathLike, architecture: PathLike | Network | Mapping[str, Any] | None
) -> KerasModel:
    config: Any = architecture
    if isinstance(architecture, Network):
        config = Start(network=architecture).description
    elif isinstance(architecture, str) and architecture in ARCHITECTURES:
        return read(init, None, architecture, with_optimizer=True)
    return read(init, config, None, with_optimizer=True)


def _graph(recipe: Recipe, given: PathLike | Network | None, faces: Faces) -> Graph:
    """Return the network that is given, or the recipe's with its dropout scaled."""
    if isinstance(given, Network):
        return given.graph
    chosen = str(recipe.architecture if given is None else given)
    if os.path.isfile(chosen) or os.path.isdir(chosen):
        return keras.load_architecture(chosen).graph
    if chosen not in ARCHITECTURES and Path(chosen).suffix:
        raise TrainingError(f"{chosen}: no such file")
    named = architecture(chosen, num_classes=len(faces.class_names))
    return with_dropout(named.graph, recipe.dropout_scale)


def with_dropout(graph: Graph, scale: float) -> Graph:
    """Return the graph with every dropout layer's rate times `scale`."""

    def scaled(layer: Layer) -> Layer:
        if isinstance(layer, Dropout | SpatialDropout2D):
            return dataclasses.replace(layer, rate=layer.rate * scale)
        return layer

    try:
        return graph.map_layers(scaled)
    except LayerError as error:
        raise TrainingError(f"`dropout_scale`: {scale:g} is too much: {error}") from None


def _check_fits(network: Network, faces: Faces, recipe: Recipe, model: KerasModel | None) -> None:
    graph = network.graph
    classes = len(faces.class_names)
    names = ", ".join(faces.class_names)
    try:
        known = Head.of(graph).num_classes
    except LayerError as error:
        raise TrainingError(str(error)) from None
    if known != classes:
        raise TrainingError(
            f"expected a network with an output for each of the data's {classes} classes "
            f"({names}), got one of shape {graph.output_shape}, which tells {known} apart"
        )
    labels = model.labels if model is not None else None
    if labels is not None and positions(labels, faces.class_names) != list(range(classes)):
        raise LabelsError(
            f"expected weights for the data's classes in their order, {names}, got "
            f"{', '.join(labels)}"
        )
    stated = None if model is None else metadata.value_range(model.metadata, model.path)
    if model is not None and stated is not None and stated != graph.value_range:
        (low, high), own = stated, graph.value_range
        raise TrainingError(
            f"{model.path}: takes images in [{low:g}, {high:g}] by its metadata, its layers are "
            f"given [{own[0]:g}, {own[1]:g}] in training; put Rescaling({high - low:g}, "
            f"offset={low:g}) before them and leave value_range out"
        )
    if not has_logits(graph):
        raise TrainingError(
            "expected a network that ends in a softmax, in logits or, for two classes, in one "
            f"sigmoid unit, its last activation is {graph.final_activation!r}"
        )
    height, width, channels = graph.image_shape
    size = (faces.images.shape[1], faces.images.shape[2])
    try:
        given = recipe.augmentation.output_size(*size)
    except AugmentationError as error:
        raise TrainingError(str(error)) from None
    for what, (h, w) in (("images", size), ("augmented images", given)):
        if height not in (None, h) or width not in (None, w):
            raise TrainingError(
                f"expected {what} of {height}x{width}, as the network takes, got {h}x{w}"
            )
    if channels not in (1, 3):
        raise TrainingError(f"expected a network for 1 or 3 channels, it takes {channels}")
    if not graph.trainable_weights():
        raise TrainingError("the network has no weights that can be trained")


def label_note(model: KerasModel, faces: Faces) -> str | None:
    """Return what is to be said of the order of a file's outputs, where it has no class names."""
    if model.labels is not None:
        return None
    names = ", ".join(faces.class_names)
    note = f"{model.path}: has no class names; its outputs are taken for the data's, {names}"
    known = recognise(model.graph)
    if known is None:
        return f"{note} (`ferjax inspect {model.path} --data FACES` tells their order)"
    if positions(known.labels, faces.class_names) == list(range(len(faces.class_names))):
        return f"{note}, as those of {known.name} are"
    return f"{note}, but those of {known.name} are {', '.join(known.labels)} ({known.source})"


def adam_notes(recipe: Recipe, model: KerasModel) -> tuple[bool, list[str]]:
    """Return whether Adam's moments of a file are taken over, and what is to be said of that."""
    state = model.optimizer_state
    of_file = [f"{model.path}: {note}" for note in model.notes if note.startswith("optimizer")]
    if state is None:
        return False, of_file
    if recipe.optimizer == "sgd":
        return False, [
            f"{model.path}: the moments of {state.name} are left out: the recipe's optimizer is sgd"
        ]
    notes = [f"{model.path}: {state.name} goes on after {state.step:,} steps", *of_file]
    decay = state.settings.get("weight_decay", 0.0)
    for name in ("learning_rate", "beta_1", "beta_2", "epsilon", "weight_decay"):
        theirs = decay if name == "weight_decay" else state.settings.get(name)
        ours = getattr(recipe, name)
        if theirs is not None and not np.isclose(theirs, ours, rtol=1e-6, atol=0):
            notes.append(
                f"{name} was {theirs:g} there and is {ours:g} here "
                f"(--set {name}={theirs:g} goes on with it)"
            )
    if decay and recipe.weight_decay:
        notes.append("Keras decays every weight, ferjax the kernels alone")
    return True, notes
