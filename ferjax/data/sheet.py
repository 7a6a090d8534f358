"""Draw labelled rows of faces on a sheet, to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.data.dataset import SPLITS, Faces
from ferjax.data.drawing import missing_letters_told, shortened
from ferjax.errors import FerjaxError, printable
from ferjax.files import replacing

if TYPE_CHECKING:
    from ferjax.data.augment import Augmentation

COLUMNS: Final = 12
FORMATS: Final = ("png", "pdf", "svg", "jpg", "jpeg", "webp")

_DPI: Final = 150
_FACE: Final = 0.64  # inches; twice the 48 pixels of FER2013 at 150 dots an inch
_GAP: Final = 0.06
_MARGIN: Final = 0.2
_TITLE: Final = 0.32
_CAPTION: Final = 6  # points
_CAPTION_WIDTH: Final = 15  # characters at most
_DISPUTED: Final = 0.85  # inches, of faces with votes under them
_DISPUTED_COLUMNS: Final = 8
_NAMED: Final = 7  # votes under a face
_LABEL_WIDTH: Final = 28  # characters at most
_BACKGROUND: Final = "#ffffff"
_INK: Final = "#1a1a1a"
_SOFT_INK: Final = "#5c5c5c"


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
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise FerjaxError("drawing needs matplotlib: pip install 'ferjax[evaluate]'") from error
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: it would take a display or change the caller's figures.
    figure = Figure(dpi=_DPI, facecolor=_BACKGROUND)
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()

    def width_of(text: str, size: float, weight: str = "normal") -> float:
        drawn = figure.text(0, 0, text, fontsize=size, fontweight=weight, parse_math=False)
        found = drawn.get_window_extent(renderer).width / _DPI
        drawn.remove()
        return float(found)

    def height_of(text: str, size: float) -> float:
        return 1.25 * size / 72 * len(text.splitlines())

    captions = [[_short(text, _CAPTION_WIDTH) for text in row.captions] for row in rows]
    labels = [(_short(row.label), _short(row.detail)) for row in rows]
    label_width = max(max(width_of(a, 9, "bold"), width_of(b, 7)) for a, b in labels)
    left = _MARGIN + label_width + 0.15
    title = _short(title, 100)
    columns = max(1, *(len(row.images) for row in rows))
    width = left + columns * (face_inches + _GAP) - _GAP + _MARGIN
    width = max(width, 2 * _MARGIN + width_of(title, 10))
    top = _MARGIN + (_TITLE if title else 0)
    tops = []  # where each row begins, inches from the top
    for number, row in enumerate(rows):
        if number:
            top += _GAP if row.joined else 2 * _GAP
        tops.append(top)
        top += face_inches + max(
            (height_of(text, _CAPTION) for text in captions[number]), default=0
        )
    height = top + _MARGIN
    if max(width, height) * _DPI >= 2**16:  # what matplotlib can draw
        raise FerjaxError(f"{len(rows):,} rows of {columns:,} images are too many for one sheet")
    figure.set_size_inches(width, height)

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / width, 1 - y / height, text, parse_math=False, **style)

    if title:
        write(_MARGIN, _MARGIN, title, fontsize=10, va="top", color=_INK)
    for row, top, (label, detail), under in zip(rows, tops, labels, captions):
        x = left - 0.15
        y = top + (face_inches - height_of(label, 9) - height_of(detail, 7)) / 2
        style: dict[str, Any] = {"ha": "right", "va": "top"}
        write(x, y, label, fontsize=9, fontweight="bold", color=_INK, **style)
        y += height_of(label, 9)
        write(x, y, detail, fontsize=7, color=_SOFT_INK, **style)
        for column, image in enumerate(row.images):
            x = left + column * (face_inches + _GAP)
            box = (
                x / width,
                1 - (top + face_inches) / height,
                face_inches / width,
                face_inches / height,
            )
            axes = figure.add_axes(box)
            axes.set_axis_off()
            axes.imshow(_shown(image), interpolation="nearest")
        for column, text in enumerate(under):
            x = left + column * (face_inches + _GAP)
            y = top + face_inches + 0.02
            write(x, y, text, fontsize=_CAPTION, va="top", color=_INK)
    with replacing(path) as temporary:
        figure.savefig(temporary, format=suffix, dpi=_DPI, facecolor=_BACKGROUND)


def class_rows(faces: Faces, *, columns: int = COLUMNS) -> list[Row]:
    """Return a row a class: its name, its counts, and images spread evenly over it."""
    rows = []
    for label, name in enumerate(faces.class_names):
        members = np.flatnonzero(faces.labels == label)
        chosen = members[_spread(len(members), columns)]
        counts = [f"{n:,} {s}" for s, n in zip(SPLITS, faces.counts[:, label].tolist()) if n]
        rows.append(
            Row(label=name, detail="\n".join(counts) or "none", images=faces.images[chosen])
        )
    return rows


def disputed_rows(faces: Faces, *, rows: int = 4) -> list[Row]:
    """Return rows of the faces that people disagree on most, with the label and votes of each.

    Raises:
        FerjaxError: nobody disagrees on any.
    """
    from ferjax.data.agreement import most_disputed

    chosen = most_disputed(faces, rows * _DISPUTED_COLUMNS)
    if not len(chosen):
        raise FerjaxError("no face has votes that differ")
    result = []
    for start in range(0, len(chosen), _DISPUTED_COLUMNS):
        members = chosen[start : start + _DISPUTED_COLUMNS]
        captions = [_votes_text(faces, int(row)) for row in members]
        result.append(Row(label="", images=faces.images[members], captions=captions))
    return result


def draw_disputed(faces: Faces, path: str | os.PathLike[str], *, title: str = "") -> None:
    """Draw the faces that people disagree on most, their votes under each; see `draw`."""
    draw(disputed_rows(faces), path, title=title, face_inches=_DISPUTED)


def _votes_text(faces: Faces, row: int) -> str:
    """Return a face's label and the most of its votes, a line each."""
    assert faces.votes is not None
    counts = faces.votes.counts[row]
    order = np.argsort(-counts, kind="stable")
    said = [f"{counts[k]:.3g} {faces.votes.names[k]}" for k in order if counts[k] > 0]
    more = ["..."] if len(said) > _NAMED else []
    label = faces.class_names[faces.labels[row]]
    return "\n".join([f"[{label}]", *said[:_NAMED], *more])


def augmented_rows(rows: Sequence[Row], augmentation: Augmentation, *, seed: int = 0) -> list[Row]:
    """Return each row with a row of its images augmented under it."""
    import jax

    from ferjax.data.augment import augment

    # Mixing two faces needs their labels, which a sheet does not show.
    augmentation = replace(augmentation, mixup=0)
    result: list[Row] = []
    for number, row in enumerate(rows):
        result.append(row)
        if len(row.images):
            key = jax.random.fold_in(jax.random.key(seed), number)
            labels = jax.numpy.zeros(len(row.images), "int32")
            images, _ = augment(key, jax.numpy.asarray(row.images), labels, augmentation)
            result.append(Row(label="", images=np.asarray(images), detail="augmented", joined=True))
    return result


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Return up to `most` positions in [0, count), at even distances.

    >>> _spread(100, 4)
    array([12, 37, 62, 87])
    """
    number = min(count, most)
    return np.array([(2 * i + 1) * count // (2 * number) for i in range(number)], np.int64)


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
