"""What is done for one picture: decoded within limits, faces found, and what is said of them.

Dimension keys: H height, W width of a picture; K classes; h, w, C of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np

from ferjax import image_files, image_formats
from ferjax.errors import ImageError
from ferjax.faces import results, yunet
from ferjax.faces.detection import Detection
from ferjax.faces.face import Face, Photograph, placed
from ferjax.faces.options import FaceOptions
from ferjax.faces.stream import find_and_crop
from ferjax.faces.yunet_network import NARROWEST
from ferjax.image_files import UInt8Array
from ferjax.preprocessing import Float32Array
from ferjax.serve.computing import Rows
from ferjax.serve.multipart import Upload
from ferjax.serve.refusals import Refusal
from ferjax.serve.settings import Limits

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

_MOST_LOOKED_AT: Final = 60_000_000  # pixels of all looks at a picture; some five seconds


class _Picture:
    """A picture that is to be looked at."""

    def __init__(
        self,
        classifier: EmotionClassifier,
        upload: Upload,
        name: str,
        options: FaceOptions,
        limits: Limits,
    ) -> None:
        self._classifier = classifier
        self._data = upload.data
        self._name = name
        self._options = options
        self._limits = limits

    def _decoded(self, channels: Literal[1, 3]) -> UInt8Array:
        """Return the picture, and let go of its file."""
        data, self._data = self._data, b""
        return decoded(data, self._name, channels, self._limits)

    def _described(self, rows: Rows) -> list[Any]:
        """Return the predictions of N faces, of each the network's probabilities, (K,)."""
        if not rows:
            return []
        options = self._options
        probabilities = self._classifier.with_confidence(
            np.stack(rows), calibrated=options.calibrated, prior=options.prior
        )
        describe = self._classifier.describe
        return [describe(p, abstain_below=options.abstain_below) for p in probabilities]


class FacesOf(_Picture):
    """The faces in a photograph: what `ferjax faces --json` says of it."""

    _shape = (0, 0)
    _detections: Sequence[Detection] = ()

    def crops(self) -> Sequence[Float32Array]:
        """Find the faces, and return each as the network takes it, float32 (h, w, C)."""
        image = self._decoded(3)
        self._shape = (image.shape[0], image.shape[1])
        check_looks(self._shape, self._options.min_size, self._name)
        most = self._limits.max_faces
        try:
            self._detections, crops = find_and_crop(
                self._classifier, image, self._options, max_faces=most
            )
        except ImageError as error:
            raise Refusal("too-many-faces", f"{self._name}: {error}") from None
        return crops

    def answer(self, rows: Rows) -> dict[str, Any]:
        """Return what is said of the photograph; of N faces N rows (K,)."""
        said = self._described(rows)
        faces = [Face(**placed(d), **vars(p)) for d, p in zip(self._detections, said, strict=True)]
        photograph = Photograph(source=self._name, faces=faces, shape=self._shape)
        return results.entry_of(self._name, photograph)


class PredictionOf(_Picture):
    """A picture that is one face: what `ferjax predict --json` says of it."""

    def crops(self) -> Sequence[Float32Array]:
        """Return the picture as the network takes it, one float32 (h, w, C)."""
        channels = cast(Literal[1, 3], self._classifier.network.graph.image_shape[2])
        image = self._decoded(channels)
        return list(self._classifier.preprocess(image, resize=self._options.resize))

    def answer(self, rows: Rows) -> dict[str, Any]:
        """Return what is said of the picture, from one row (K,)."""
        (prediction,) = self._described(rows)
        return {"path": self._name, "error": None, **vars(prediction)}


def decoded(data: bytes, name: str, channels: Literal[1, 3], limits: Limits) -> UInt8Array:
    """Return a picture as a viewer shows it, uint8 (H, W), or (H, W, 3) in RGB order.

    Raises:
        Refusal: it is none, or damaged, or has too many pixels; of these its header is asked.
    """
    if not data:
        raise Refusal("unreadable-image", f"{name}: empty, 0 bytes")
    try:
        kind = image_formats.kind_of(data, name)
    except ImageError as error:
        raise Refusal("not-an-image", str(error)) from None
    width, height = image_formats.header_size(data, kind)
    if width * height > limits.max_pixels:
        raise Refusal(
            "too-many-pixels",
            f"{name}: {width} x {height} pixels; expected at most {limits.max_pixels:,} in all, "
            "scale it down",
        )
    try:
        return image_files.decode(data, name, channels)
    except ImageError as error:
        raise Refusal("unreadable-image", str(error)) from None


def check_looks(shape: tuple[int, int], min_size: float | None, name: str) -> None:
    """Raise a Refusal where so much would have to be looked at that it takes too long.

    Args:
        shape: (H, W) of the picture, in pixels.
        min_size: the height that a face needs, in pixels: the smaller, the closer is looked.
        name: what the error calls the picture.
    """
    height, width = shape
    looked_at = sum(
        max(NARROWEST, height * scale) * max(NARROWEST, width * scale)
        for scale in yunet.scales(shape, min_size)
    )
    if looked_at > _MOST_LOOKED_AT:
        what = "raise `min_size`, or scale it down" if min_size else "cut it into parts"
        raise Refusal(
            "too-costly",
            f"{name}: {width} x {height} pixels; to look for faces in it takes too long; {what}",
        )
