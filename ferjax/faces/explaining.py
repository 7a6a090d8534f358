"""Explain the expressions in a photograph: where in each face the score of its label comes from.

Dimension keys: H height, W width of a picture; h and w of the network's input.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ferjax.faces.cropping import as_it_is, crop
from ferjax.faces.detection import Detection, faces_of
from ferjax.faces.face import Face
from ferjax.preprocessing import Resize, Source

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier


def heatmaps(
    classifier: EmotionClassifier,
    image: Source,
    faces: Iterable[Detection],
    *,
    layer: str | None = None,
    resize: Resize = "area",
) -> list[npt.NDArray[np.float32]]:
    """Return a map for every face, float32 (h, w) in [0, 1], of the square that `crop` cuts out.

    `draw` lays them over the photograph. What a map shows says `ferjax.explain.Explanation`: where
    the score of the face's label comes from, or of the most probable class where there is no label.

    Args:
        classifier: what told the expressions.
        image: one image, of any kind that `detect` takes.
        faces: what `analyze` or `detect` returned for it.
        layer: as for `ferjax.explain.explain`.
        resize: as for `analyze`.

    Raises:
        LayerError: as for `ferjax.explain.explain`.
        ImageError: the image cannot be read.
        FerjaxError: `faces` are none.
    """
    from ferjax.explain import explain

    faces = faces_of(faces)
    if not faces:
        return []
    picture = as_it_is(image)
    crops = [crop(picture, face) for face in faces]
    if all(isinstance(face, Face) and face.probabilities for face in faces):
        labels = [face.most_probable for face in faces if isinstance(face, Face)]
    else:
        labels = None
    explanations = explain(classifier, crops, labels=labels, layer=layer, resize=resize)
    return [explanation.heatmap for explanation in explanations]
