"""From photographs to faces with their expressions: one, a list of them, or a stream."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from ferjax import preprocessing
from ferjax.errors import ImageError
from ferjax.faces.detection import Detector
from ferjax.faces.face import Face, Photograph
from ferjax.faces.options import FaceOptions
from ferjax.faces.prior import adapted
from ferjax.faces.stream import Single, photographs
from ferjax.preprocessing import ChannelOrder, Resize
from ferjax.priors import ADAPT, TRAINING, Prior, is_adapt

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier


class Options(TypedDict, total=False):
    """The options of `EmotionClassifier.analyze`."""

    detector: Detector | None
    min_score: float
    min_size: float | None
    order: str
    largest: bool
    resize: Resize
    channel_order: ChannelOrder
    calibrated: bool
    prior: Prior
    abstain_below: float


def analyze(classifier: EmotionClassifier, images: Any, **options: Unpack[Options]) -> Any:
    """Do what `EmotionClassifier.analyze` says."""
    asked = FaceOptions(**options)
    threshold = asked.abstain_below
    if preprocessing.is_array(images) and preprocessing.is_batch(np.shape(images)):
        preprocessing.check_channel_order(asked.channel_order)
        images = list(preprocessing.check_array(images, "array", asked.channel_order))
        asked = replace(asked, channel_order="rgb")
    is_one = preprocessing.is_single(images) or preprocessing.is_array(images)
    adapts = is_adapt(asked.prior) and (is_one or isinstance(images, Sequence))
    if adapts:  # once all faces are found
        classifier.check_confidence(calibrated=asked.calibrated, prior=ADAPT)
        asked = replace(asked, prior=TRAINING, calibrated=classifier.scaling is not None)
    if is_one:
        (photograph,) = photographs(classifier, Single([images]), asked, threads=0)
        if photograph.error is not None:
            raise photograph.error
        faces = [photograph.faces]
        return (adapted(classifier, faces, threshold) if adapts else faces)[0]
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise ImageError(
            "expected a path, bytes, array, PIL image, an open file or an iterable of them, got "
            f"{type(images).__name__}"
        )
    stream = photographs(classifier, images, asked)
    if not isinstance(images, Sequence):
        return _faces(stream)
    if not images:
        raise ImageError("expected at least one image, got an empty sequence")
    done = list(stream)
    problems = [str(photograph.error) for photograph in done if photograph.error is not None]
    if problems:
        raise ImageError(preprocessing.joined(problems, len(images)))
    faces = [photograph.faces for photograph in done]
    return adapted(classifier, faces, threshold) if adapts else faces


def _faces(stream: Generator[Photograph, None, None]) -> Generator[list[Face], None, None]:
    """Yield the faces of each photograph, or raise why it cannot be used."""
    try:
        for photograph in stream:
            if photograph.error is not None:
                raise photograph.error
            yield photograph.faces
    finally:
        stream.close()
