"""Compare what two weight files predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ferjax import keras, metadata
from ferjax.classifier import EmotionClassifier
from ferjax.errors import LabelsError
from ferjax.nets.architectures import architecture as named
from ferjax.nets.head import Head
from ferjax.weights import PathLike, has_architecture, located, read

_GENERATED = 64


@dataclass(frozen=True)
class Comparison:
    """How far two networks differ over `images` images.

    Attributes:
        largest_difference: of a probability, over images and classes.
        different_classes: for how many images the most probable class differs.
        same_labels: False where both come with labels, and these differ.
    """

    images: int
    largest_difference: float
    different_classes: int
    same_labels: bool = True


def compare(
    a: PathLike,
    b: PathLike,
    images: Sequence[PathLike] | None = None,
    *,
    config: PathLike | None = None,
    architecture: str | None = None,
    output: str | int | None = None,
) -> Comparison:
    """Predict the same images with two weight files.

    Args:
        a, b: Keras files, Flax msgpacks or Orbax folders.
        images: paths; None: 64 generated ones.
        config, architecture: the architecture of a file that has none.
        output: the output of a file that has several.

    Raises:
        WeightFileError: a file cannot be used, or `config` cannot, even where none needs it.
        LayerError: there is no `architecture` of that name, or a network does not classify.
        LabelsError: the networks have different numbers of classes.
        ImageError: an image cannot be read.
    """
    if config is not None:
        keras.outputs(config, config)  # refuses what cannot be used, whichever output is chosen
    if architecture is not None:
        named(architecture)
    (first, named_first), (second, named_second) = (
        _classifier(path, config, architecture, output) for path in (a, b)
    )
    if len(first.labels) != len(second.labels):
        raise LabelsError(f"{a} has {len(first.labels)} classes, {b} has {len(second.labels)}")
    sources = list(images) if images is not None else list(generated_images(_GENERATED))
    p, q = (c.predict_proba(sources, resize="linear") for c in (first, second))
    return Comparison(
        len(sources),
        float(np.abs(p - q).max(initial=0)),
        int((first.head.predicted(p) != second.head.predicted(q)).sum()),
        first.labels == second.labels or not (named_first and named_second),
    )


def generated_images(count: int, seed: int = 0) -> np.ndarray:
    """Return uint8 (B, 48, 48): random tiles of 8x8 pixels, the same every time."""
    tiles = np.random.default_rng(seed).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    return tiles.repeat(8, axis=1).repeat(8, axis=2)


def _classifier(
    path: PathLike, config: PathLike | None, architecture: str | None, output: str | int | None
) -> tuple[EmotionClassifier, bool]:
    """Load a file, with the given architecture only where it has none of its own.

    The output is chosen only where there are several, as of a file and the conversion of one.

    Returns:
        what predicts, and whether the file comes with labels.
    """
    path = located(path)
    is_given = config is not None or architecture is not None
    if is_given and has_architecture(path):
        config = architecture = None
    if output is not None:
        has_config = config is not None or has_architecture(path)
        output = output if has_config and len(keras.outputs(path, config)) > 1 else None
    model = read(path, config, architecture, output=output)
    classes = Head.of(model.graph).num_classes
    labels = model.labels or [f"class {index}" for index in range(classes)]
    value_range = metadata.value_range(model.metadata, path)
    classifier = EmotionClassifier(
        model.graph, model.variables, labels, value_range=value_range, engine="jax"
    )
    return classifier, bool(model.labels)
