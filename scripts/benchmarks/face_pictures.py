"""Photographs to time face pipelines on: JPEG files of 640x480 with one face, and with six."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 640, 480
COLUMNS, ROWS = 3, 2
FACE = (30, 189, 146, 305)  # rows and columns of the face in the photograph, 512x512


def prepare(
    photograph: Path, folder: Path, count: int, seed: int, faces: UInt8Array | None = None
) -> None:
    """Write `count` pictures to folder/one and as many to folder/six.

    Args:
        photograph: the astronaut, whole.
        folder: where the pictures go.
        count: of each kind.
        seed: of shifts, brightness and mirroring, so that no two pictures are alike.
        faces: other faces, uint8 (N, h, h), for every other place of the pictures with six.

    Raises:
        OSError: the photograph cannot be read.
    """
    image = cv2.imread(str(photograph))
    if image is None:
        raise OSError(f"{photograph}: cannot be read")
    if image.shape[:2] != (512, 512):
        image = cv2.resize(image, (512, 512), interpolation=cv2.INTER_AREA)
    whole = np.asarray(image, np.uint8)
    rng = np.random.default_rng(seed)
    for name, draw in (("one", _one), ("six", _six)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            path = str(folder / name / f"{number:04}.jpg")
            cv2.imwrite(path, draw(whole, faces, rng), [cv2.IMWRITE_JPEG_QUALITY, 90])


def _one(photograph: UInt8Array, faces: UInt8Array | None, rng: np.random.Generator) -> UInt8Array:
    """The whole photograph, its edges continued to the left and right."""
    scaled = cv2.resize(photograph, (HEIGHT, HEIGHT), interpolation=cv2.INTER_AREA)
    left = int(rng.integers(0, WIDTH - HEIGHT + 1))
    right = WIDTH - HEIGHT - left
    wide = cv2.copyMakeBorder(scaled, 0, 0, left, right, cv2.BORDER_REPLICATE)
    return _varied(wide, rng)


def _six(photograph: UInt8Array, faces: UInt8Array | None, rng: np.random.Generator) -> UInt8Array:
    """Six tiles, the face of the photograph in each or, where there are others, in every other."""
    width, height = WIDTH // COLUMNS, HEIGHT // ROWS
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for place in range(COLUMNS * ROWS):
        if faces is not None and place % 2:
            tile = _framed(faces[int(rng.integers(len(faces)))], height, width)
        else:
            tile = _portrait(photograph, height, width, rng)
        row, column = divmod(place, COLUMNS)
        x = column * width
        across = WIDTH - x if column == COLUMNS - 1 else width  # 640 is no multiple of 3
        wide = cv2.resize(tile, (across, height), interpolation=cv2.INTER_LINEAR)
        picture[row * height : (row + 1) * height, x : x + across] = _varied(wide, rng)
    return picture


def _portrait(
    photograph: UInt8Array, height: int, width: int, rng: np.random.Generator
) -> UInt8Array:
    top, bottom, left, right = FACE
    y = (top + bottom - height) // 2 + int(rng.integers(-10, 11))
    x = (left + right - width) // 2 + int(rng.integers(-10, 11))
    y, x = max(0, y), max(0, x)
    return photograph[y : y + height, x : x + width]


def _framed(face: UInt8Array, height: int, width: int) -> UInt8Array:
    side = 2 * min(height, width) // 3
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    above, before = (height - side) // 2, (width - side) // 2
    edges = (above, height - side - above, before, width - side - before)
    framed = cv2.copyMakeBorder(large, *edges, cv2.BORDER_REPLICATE)
    return np.repeat(np.asarray(framed, np.uint8)[..., None], 3, axis=-1)


def _varied(image: npt.NDArray[np.generic], rng: np.random.Generator) -> UInt8Array:
    """Another brightness and contrast, and every other picture mirrored."""
    values = np.asarray(image, np.float32) * np.float32(rng.uniform(0.85, 1.1))
    values += np.float32(rng.uniform(-10, 10))
    varied = np.clip(values, 0, 255).round().astype(np.uint8)
    return varied[:, ::-1] if rng.random() < 0.5 else varied


def prepare_small(photograph: Path, folder: Path, count: int, distinct: int, seed: int) -> None:
    """Write `count` pictures of 320x240 with one face each, some of which are the same file.

    Args:
        photograph: the astronaut, whole.
        folder: where the pictures go.
        count: how many names there are.
        distinct: how many of them are files of their own; the others are links to these.
        seed: of shifts, brightness and mirroring.

    Raises:
        OSError: the photograph cannot be read.
    """
    image = cv2.imread(str(photograph))
    if image is None:
        raise OSError(f"{photograph}: cannot be read")
    rng = np.random.default_rng(seed)
    whole = np.asarray(image, np.uint8)
    folder.mkdir(parents=True)
    for number in range(count):
        path = folder / f"{number:06}.jpg"
        if number >= distinct:
            path.hardlink_to(folder / f"{number % distinct:06}.jpg")
            continue
        small = cv2.resize(_one(whole, None, rng), (320, 240), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(path), small, [cv2.IMWRITE_JPEG_QUALITY, 90])
