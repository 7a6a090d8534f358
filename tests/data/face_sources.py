"""Small datasets of faces in the forms in which they circulate, and how reading them fails."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import ferjax
from ferjax.data import sources
from ferjax.data.dataset import Faces
from ferjax.emotions import FER2013_CSV_ORDER
from ferjax.errors import DataError, FerjaxError

KAGGLE = dict(zip(ferjax.EMOTIONS, "angry disgusted fearful happy neutral sad surprised".split()))
USAGES = ("Training", "PublicTest", "PrivateTest")
TREE = dict[str, bytes]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def face(seed: int, size: tuple[int, int] = (48, 48)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def kaggle_tree(train: int = 12, test: int = 2) -> TREE:
    """Return Kaggle's layout: path -> content. Every image is another."""
    return {
        f"{split}/{folder}/im{i}.png": png(face(100 * row + i + 50 * (split == "test")))
        for split, number in (("train", train), ("test", test))
        for row, folder in enumerate(KAGGLE.values())
        for i in range(number)
    }


def write_folder(tree: TREE, path: Path) -> Path:
    for name, data in tree.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


def write_zip(tree: TREE, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in tree.items():
            archive.writestr(name, data)
    return path


def write_tar(tree: TREE, path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


WRITERS: dict[str, Callable[[TREE, Path], Path]] = {
    "folder": write_folder,
    "faces.zip": write_zip,
    "faces.tar.gz": write_tar,
    "faces.tar": write_tar,
}


def csv_text(faces: Faces, order: str = "emotion,pixels,Usage") -> bytes:
    lines = [order]
    for image, label, split in zip(faces.images, faces.labels, faces.splits):
        fields = {
            "emotion": str(FER2013_CSV_ORDER.index(ferjax.EMOTIONS[label])),
            "pixels": " ".join(map(str, image.ravel().tolist())),
            "Usage": USAGES[split],
        }
        lines.append(",".join(fields[name.strip()] for name in order.split(",")))
    return "\n".join(lines).encode() + b"\n"


def row(emotion: object = 3, pixels: str = " ".join(["7"] * 2304), usage: str = "Training") -> str:
    return f"{emotion},{pixels},{usage}"


def csv_file(path: Path, *rows: str, header: str = "emotion,pixels,Usage") -> Path:
    """Write a csv with a good row of each class, then `rows`."""
    every = [row(emotion) for emotion in range(7)]
    path.write_text("\n".join([header, *every, *rows]) + "\n")
    return path


def contents(faces: Faces) -> list[tuple[bytes, int, int]]:
    """Return pixels, label and split of each face, in an order of their own."""
    return sorted(
        zip((i.tobytes() for i in faces.images), faces.labels.tolist(), faces.splits.tolist())
    )


def fails(path: Path, match: str, **options: object) -> DataError:
    """Return the error, which names the source first, on one line."""
    with pytest.raises(DataError, match=match) as raised:
        sources.read(path, **options)  # type: ignore[arg-type]
    assert isinstance(raised.value, FerjaxError) and isinstance(raised.value, ValueError)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)
    return raised.value
