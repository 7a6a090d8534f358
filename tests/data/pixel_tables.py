"""Tables of pixels: fourteen images of 4x4 pixels, each emotion twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ferjax import EMOTIONS
from ferjax.data import sources
from ferjax.data.dataset import Faces

ORDER = "angry disgust fear happy sad surprise neutral".split()  # fer2013.csv's 0 to 6
IMAGES = np.random.default_rng(0).integers(0, 256, (14, 4, 4), np.uint8)
IMAGES[:, 0, 0] = 255  # so that no image is within [0, 1]
USAGES = ["Training"] * 7 + ["PublicTest"] * 4 + ["PrivateTest"] * 3
SPLITS = [0] * 7 + [1] * 4 + [2] * 3
Pixels = Callable[[np.ndarray], str]


def plain(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel().tolist()))


def table(
    header: str | None = "emotion,pixels,Usage",
    *,
    fields: str = "{label},{pixels},{usage}",
    label: Callable[[int], object] = lambda i: i % 7,
    usage: Callable[[str], str] = str,
    pixels: Pixels = plain,
) -> str:
    """Return fourteen rows of images of 4x4 pixels, each emotion twice."""
    rows = [
        fields.format(i=i, label=label(i), pixels=pixels(image), usage=usage(USAGES[i]))
        for i, image in enumerate(IMAGES)
    ]
    return "\n".join(([header] if header is not None else []) + rows) + "\n"


def read(path: Path, data: str | bytes, **options: object) -> Faces:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return sources.read(path, size=(4, 4), **options).faces  # type: ignore[arg-type]


def check(faces: Faces, splits: Sequence[int] = SPLITS) -> None:
    """Check that the faces are those of `table`."""
    np.testing.assert_array_equal(faces.images, IMAGES)
    assert [faces.class_names[label] for label in faces.labels] == ORDER * 2
    assert faces.class_names == EMOTIONS
    assert faces.splits.tolist() == list(splits)
    assert faces.names[:2] == ("row 1", "row 2")
    assert np.all(faces.source_sizes == 4)


def separated(by: str) -> str:
    return table(f"emotion{by}pixels{by}Usage", fields=f"{{label}}{by}{{pixels}}{by}{{usage}}")


def columns(start: int = 0, name: str = "pixel_{}") -> str:
    return ",".join(name.format(i) for i in range(start, start + 16))


def in_columns(image: np.ndarray) -> str:
    return plain(image).replace(" ", ",")
