"""What a run begins with: which network, which images, which weights."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax import conversion, keras, metadata, released
from ferjax.data import balance, checks, preparation, splits
from ferjax.data.augment import AugmentationError
from ferjax.data.dataset import Faces, checksum
from ferjax.data.order import Order, Shuffled
from ferjax.data.votes import BY_MAJORITY, OUTLIERS
from ferjax.emotions import EMOTIONS, positions
from ferjax.errors import LabelsError, LayerError
from ferjax.keras import KerasModel
from ferjax.keras.config_writing import keras_version, model_config
from ferjax.keras.optimizer import training_config
from ferjax.nets.architectures import ARCHITECTURES, architecture
from ferjax.nets.graph import Graph
from ferjax.nets.head import Head, has_logits
from ferjax.nets.known import recognise
from ferjax.nets.layers import Dropout, SpatialDropout2D
from ferjax.nets.network import Network
from ferjax.train import targets
from ferjax.train.errors import TrainingError
from ferjax.train.recipes import Recipe

PathLike = str | os.PathLike[str]
_COMPILED = "compile_config"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The training and the validation images of the data, all of them, with their own labels.

    Attributes:
        train, validation: the images.
        copies: bool (N validation,), which of them are exact copies of images trained on.
    """

    train: Faces
    validation: Faces
    copies: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The images of a run.

    Attributes:
        train: what is trained on.
        validation: what is measured after each epoch, and chosen by; where votes are used, the
            images with a majority, which is their label.
        copies: bool (N validation,), which of them are exact copies of training images.
        path: where they come from, if anywhere.
        is_held_out: whether validation is a part of the training images.
        soft_labels: float32 (N train, K), what is learnt in place of the labels; None: these.
        majority: int32 (N train,), the class of most votes, -1 where none is; None: votes are not
            used.
        labels: what the labels of `validation` are; None: the images' own.
        parts: what `train` and `validation` were taken from; None: they are the whole.
    """

    train: Faces
    validation: Faces
    copies: npt.NDArray[np.bool_]
    path: str | None
    is_held_out: bool
    soft_labels: npt.NDArray[np.float32] | None = None
    majority: npt.NDArray[np.int32] | None = None
    labels: str | None = None
    parts: Parts | None = None

    @property
    def whole(self) -> Parts:
        """The parts of the data with their own labels."""
        if self.parts is not None:
            return self.parts
        return Parts(train=self.train, validation=self.validation, copies=self.copies)

    def name(self, split: str) -> str:
        """Return what "train" or "validation" is called: a part of FER2013, or its split."""
        faces = self.whole.train if split == "train" else self.whole.validation
        if split == "validation" and self.is_held_out:
            split = "held out of train"
        return splits.part_name(faces, split, self.path)

    def describe(self) -> dict[str, Any]:
        """Return what tells this data from other data, ready for JSON.

        Where votes are used, "votes" is a checksum of them, "left_out" how many of the images are,
        "labels" what the labels of the validation images are.
        """
        whole = self.whole
        images = {"train": len(whole.train), "validation": len(whole.validation)}
        described = {
            "path": self.path,
            "names": {split: self.name(split) for split in images},
            "images": images,
            "validation_copies_of_training": int(whole.copies.sum()),
            "size": list(self.train.images.shape[1:]),
            "class_names": list(self.train.class_names),
            "checksum": checksum(whole.train, whole.validation),
        }
        votes = [v for v in (whole.train.votes, whole.validation.votes) if v is not None]
        if self.majority is not None:
            used = {"train": len(self.train), "validation": len(self.validation)}
            described["votes"] = targets.checksum(*votes)
            described["labels"] = self.labels
            described["left_out"] = {split: n - used[split] for split, n in images.items()}
        return described

    @property
    def groups(self) -> npt.NDArray[np.int32]:
        """The class by which training images are balanced, (N,): the majority or the label."""
        if self.majority is None:
            return self.train.labels
        return np.where(self.majority < 0, self.train.labels, self.majority).astype(np.int32)

    def class_weights(self, recipe: Recipe) -> npt.NDArray[np.float32] | None:
        """Return the weight of each class in the loss, (K,), or None where all weigh the same."""
        if recipe.class_weights == "none":
            return None
        if self.majority is None or self.soft_labels is None:
            return balance.class_weights(self.train.labels, len(self.train.class_names))
        return targets.balanced_weights(self.soft_labels)

    def frequencies(self, recipe: Recipe) -> npt.NDArray[np.float64]:
        """Return how often the loss is shown each class, (K,); see `targets.frequencies`."""
        learnt = self.soft_labels
        if learnt is None:
            learnt = np.eye(len(self.train.class_names), dtype=np.float32)[self.train.labels]
        groups = self.groups if recipe.sampling == "balanced" else None
        return targets.frequencies(learnt, groups, self.class_weights(recipe))


def load_data(data: PathLike | Faces, recipe: Recipe) -> TrainingData:
    """Read prepared faces and divide them as the recipe says.

    Raises:
        DataError: there is no prepared dataset.
        TrainingError: it has no images to train or to validate on, or fewer than a batch, or no
            votes, where the recipe learns them.
    """
    path = None if isinstance(data, Faces) else str(Path(data).absolute())
    faces = data if isinstance(data, Faces) else preparation.load(data)
    faces = faces.take(~faces.in_split("test"))  # neither trained on nor looked at
    if recipe.hold_out:
        faces = _held_out(faces.take(faces.in_split("train")), recipe)
    rows = {split: faces.in_split(split) for split in ("train", "validation")}
    for split, chosen in rows.items():
        if not chosen.any():
            hint = "; --set hold_out=0.1 keeps a part of train" if split == "validation" else ""
            raise TrainingError(f"{path or 'the data'}: no {split} images{hint}")
    if recipe.votes:
        return _with_votes(faces, recipe, path)
    _check_batch(int(rows["train"].sum()), recipe, path)
    copies = checks.copies_of_training(faces)[rows["validation"]]
    return TrainingData(
        train=faces.take(rows["train"]),
        validation=faces.take(rows["validation"]),
        copies=copies,
        path=path,
        is_held_out=bool(recipe.hold_out),
    )


def _with_votes(faces: Faces, recipe: Recipe, path: str | None) -> TrainingData:
    """Return the images with targets by their votes, and those to validate on by their majority."""
    place = path or "the data"
    if faces.votes is None:
        raise TrainingError(
            f"{place}: has no votes, of which recipe {recipe.name} makes {recipe.votes:g} of each "
            "target; `ferjax data prepare SOURCE --votes VOTES.csv` adds them, --set votes=0 "
            "does without"
        )
    train, validation = (faces.in_split(split) for split in ("train", "validation"))
    found = targets.of_votes(faces, recipe)
    learnt = train & found.named if recipe.unclear == "leave out" else train
    measured = validation & (found.majority >= 0)
    for split, chosen in (("train", train & found.named), ("validation", measured)):
        if not chosen.any():
            raise TrainingError(
                f"{place}: no {split} image has votes for one of the data's classes, "
                f"{', '.join(faces.class_names)}; --set votes=0 does without votes"
            )
    _check_batch(int(learnt.sum()), recipe, path)
    labels = f"{BY_MAJORITY}, {len(faces.class_names)} classes"
    if recipe.vote_outliers != OUTLIERS:
        labels += f", without classes of {recipe.vote_outliers:g} votes or fewer"
    copies = np.zeros(len(faces), np.bool_)
    copies[learnt | validation] = checks.copies_of_training(faces.take(learnt | validation))
    by_majority = replace(faces.take(measured), labels=found.majority[measured])
    return TrainingData(
        train=faces.take(learnt),
        validation=by_majority,
        copies=copies[measured],
        path=path,
        is_held_out=bool(recipe.hold_out),
        soft_labels=found.values[learnt],
        majority=found.majority[learnt],
        labels=labels,
        parts=Parts(
            train=faces.take(train),
            validation=faces.take(validation),
            copies=copies[validation],
        ),
    )


def vote_notes(data: TrainingData, recipe: Recipe) -> list[str]:
    """Return what is to be said of the targets where votes are used; else nothing."""
    if data.majority is None or data.soft_labels is None:
        return []
    whole, labels, names = data.whole, data.train.labels, data.train.class_names
    named = targets.of_votes(data.train, recipe).named
    unnamed = len(whole.train) - int(named.sum())
    what = "are left out" if recipe.unclear == "leave out" else "have their own label alone"
    own = float(data.soft_labels[np.arange(len(labels)), labels].mean())
    before = np.bincount(labels, minlength=len(names)) / len(labels)
    after = data.frequencies(recipe)
    shares = ", ".join(f"{n} {b:.1%} ({a:.1%})" for n, b, a in zip(names, after, before))
    clear = data.majority >= 0
    same = float((data.majority == labels)[clear].mean()) if clear.any() else 0.0
    return [
        f"targets by votes of {int(named.sum()):,} of {len(whole.train):,} training images; "
        f"{unnamed:,}, whose votes name no class, {what}",
        f"the majority of votes is the image's own label in {same:.1%}; targets give the own label "
        f"{own:.1%} on average",
        f"classes in the loss (in the labels): {shares}",
        f"validation: {len(data.validation):,} of {len(whole.validation):,} images, those with a "
        "majority of votes, which is their label",
    ]


def _check_batch(images: int, recipe: Recipe, path: str | None) -> None:
    if recipe.batch_size > images:  # an epoch would have no step
        raise TrainingError(
            f"expected a `batch_size` of at most {images}, the training images in "
            f"{path or 'the data'}, got {recipe.batch_size}; --set batch_size={images}"
        )


def _held_out(train: Faces, recipe: Recipe) -> Faces:
    """Put a part of the training images into validation: by pixels and seed, copies together."""
    salt = f"ferjax hold out {recipe.seed:d} ".encode()
    drawn = np.array(
        [
            int.from_bytes(hashlib.blake2b(salt + digest, digest_size=8).digest(), "big")
            for digest in train.digests
        ],
        np.float64,
    )
    return replace(train, splits=(drawn / 2**64 < recipe.hold_out).astype(np.int8))


def order(recipe: Recipe, labels: npt.NDArray[np.int32]) -> Order:
    """Return the order in which training images come.

    Args:
        labels: int32 (N,), by which they are balanced, if at all.
    """
    if recipe.sampling == "balanced":
        from ferjax.data.balance import Balanced

        return Balanced(labels=labels, seed=recipe.seed)
    return Shuffled(size=len(labels), seed=recipe.seed)


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
            f"recipe {recipe.name} goes on from ferjax's default weights, of {known}: expected "
            f"`init` for {what} (--init WEIGHTS)"
        )
    if faces.class_names != EMOTIONS:
        raise TrainingError(
            f"recipe {recipe.name} goes on from ferjax's default weights, for "
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
        return conversion.read(init, None, architecture, with_optimizer=True)
    return conversion.read(init, config, None, with_optimizer=True)


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
    if scale == 1:
        return graph
    try:
        layers = tuple(
            dataclasses.replace(layer, rate=layer.rate * scale)
            if isinstance(layer, Dropout | SpatialDropout2D)
            else layer
            for layer in graph.layers
        )
    except LayerError as error:
        raise TrainingError(f"`dropout_scale`: {scale:g} is too much: {error}") from None
    return dataclasses.replace(graph, layers=layers)


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
