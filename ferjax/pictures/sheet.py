"""Draw labelled rows of faces on a sheet, to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import FerjaxError, printable
from ferjax.files import replacing
from ferjax.pictures.figures import missing_letters_told, new_figure, require_matplotlib, shortened
from ferjax.pictures.palette import INK, PAPER, SOFT_INK

FORMATS: Final = ("png", "pdf", "svg", "jpg", "jpeg", "webp")

_DPI: Final = 150
_FACE: Final = 0.64  # inches; twice the 48 pixels of FER2013 at 150 dots an inch
_GAP: Final = 0.06
_MARGIN: Final = 0.2
_TITLE: Final = 0.32
_CAPTION: Final = 6  # points
_CAPTION_WIDTH: Final = 15  # characters at most
_LABEL_WIDTH: Final = 28  # characters at most


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a sheet.

    Attributes:
        label: what stands before it.
        detail: what stands under the label, smaller.
        images: uint8 in [0, 255] or floats in [0, 1], (H, W), (H, W, 1) or (H, W, 3).
        joined: whether it stands close to the row above, as augmented images to their originals.
        captions: what stands under each image, a line or several; none, or as many as images.
    """

    label: str
    images: Sequence[npt.NDArray[Any]] | npt.NDArray[Any]
    detail: str = ""
    joined: bool = False
    captions: Sequence[str] = ()


def check_path(path: str | os.PathLike[str]) -> str:
    """Return the format that a sheet's name asks for; draw nothing.

    Raises:
        FerjaxError: the name's end is not one of `FORMATS`, or matplotlib is missing.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise FerjaxError(
            f"{printable(str(path))}: expected a name that ends in .{', .'.join(FORMATS)}"
        )
    require_matplotlib()
    return suffix


@missing_letters_told()
def draw(
    rows: Sequence[Row],
    path: str | os.PathLike[str],
    *,
    title: str = "",
    face_inches: float = _FACE,
) -> None:
    """Draw rows of images and write them to a file, whose name says in which format.

    The labels are measured, so that none is cut off or lies on a face.

    Raises:
        FerjaxError: the format is not known, matplotlib is missing, or the file cannot be written.
    """
    suffix = check_path(path)
    if not rows:
        raise ValueError("expected at least one row to draw, got none")
    figure = new_figure(dpi=_DPI)
    rows = [_shortened(row) for row in rows]
    title = _short(title, 100)
    width, height, left, tops = _arranged(figure, rows, title, face_inches)
    if max(width, height) * _DPI >= 2**16:  # what matplotlib can draw
        columns = max(1, *(len(row.images) for row in rows))
        raise FerjaxError(f"{len(rows):,} rows of {columns:,} images are too many for one sheet")
    figure.set_size_inches(width, height)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / width, 1 - y / height, text, parse_math=False, va="top", **style)

    if title:
        write(_MARGIN, _MARGIN, title, fontsize=10, color=INK)
    for row, top in zip(rows, tops):
        label, detail = _height(row.label, 9), _height(row.detail, 7)
        x, y = left - 0.15, top + (face_inches - label - detail) / 2
        write(x, y, row.label, fontsize=9, fontweight="bold", color=INK, ha="right")
        write(x, y + label, row.detail, fontsize=7, color=SOFT_INK, ha="right")
        for column, image in enumerate(row.images):
            x, y = left + column * (face_inches + _GAP), top + face_inches
            box = (x / width, 1 - y / height, face_inches / width, face_inches / height)
            axes = figure.add_axes(box)
            axes.set_axis_off()
            axes.imshow(_shown(image), interpolation="nearest")
            if row.captions:
                write(x, y + 0.02, row.captions[column], fontsize=_CAPTION, color=INK)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=suffix, dpi=_DPI, facecolor=PAPER)


def _arranged(
    figure: Any, rows: Sequence[Row], title: str, face_inches: float
) -> tuple[float, float, float, list[float]]:
    """Return a sheet's width and height, and where faces and each row begin, in inches."""
    renderer = figure.canvas.get_renderer()

    def width_of(text: str, size: float, weight: str = "normal") -> float:
        drawn = figure.text(0, 0, text, fontsize=size, fontweight=weight, parse_math=False)
        width = float(drawn.get_window_extent(renderer).width)
        drawn.remove()
        return width / _DPI

    labels = max(max(width_of(row.label, 9, "bold"), width_of(row.detail, 7)) for row in rows)
    left = _MARGIN + labels + 0.15
    columns = max(1, *(len(row.images) for row in rows))
    width = left + columns * (face_inches + _GAP) - _GAP + _MARGIN
    width = max(width, 2 * _MARGIN + width_of(title, 10))
    top = _MARGIN + (_TITLE if title else 0)
    tops = []
    for number, row in enumerate(rows):
        if number:
            top += _GAP if row.joined else 2 * _GAP
        tops.append(top)
        top += face_inches + max((_height(text, _CAPTION) for text in row.captions), default=0)
    return width, top + _MARGIN, left, tops


def _height(text: str, size: float) -> float:
    return 1.25 * size / 72 * len(text.splitlines())


def _shortened(row: Row) -> Row:
    captions = [_short(text, _CAPTION_WIDTH) for text in row.captions]
    return replace(row, label=_short(row.label), detail=_short(row.detail), captions=captions)


def _shown(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return an image as uint8, (H, W, 3): matplotlib's own grays may be off by one."""
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.dtype != np.uint8:
        image = np.clip(image.astype(np.float32) * 255 + 0.5, 0, 255).astype(np.uint8)
    if image.ndim != 2 and (image.ndim != 3 or image.shape[-1] != 3):
        raise ValueError(f"expected an image (H, W), (H, W, 1) or (H, W, 3), got {image.shape}")
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image


def _short(text: str, most: int = _LABEL_WIDTH) -> str:
    return "\n".join(shortened(line, most) for line in text.split("\n"))
