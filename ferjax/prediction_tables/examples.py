"""Draw faces of each class on a sheet: those of the highest and of the lowest confidence.

They are cut out of the photographs, where these still lie at the paths of the table.

Dimension keys: N rows at a time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import DataError, FerjaxError, ImageError, printable
from ferjax.faces.cropping import crop
from ferjax.faces.detection import Detection
from ferjax.faces.results import uncell
from ferjax.filesystems import Place, fetched, is_address
from ferjax.image_files import UInt8Array
from ferjax.pictures import sheet
from ferjax.pictures.sheet import Row
from ferjax.prediction_tables.parts import PredictionTable
from ferjax.prediction_tables.rows import Rows
from ferjax.preprocessing import load_picture, resized

COLUMNS: Final = 10

_SPARE: Final = 4  # times as many are kept, for pictures that cannot be opened
_SIDE: Final = 96  # pixels of a face on the sheet
_MOST_CLASSES: Final = 100
_ABSTAINED: Final = "no label"


@dataclass(frozen=True, order=True)
class Example:
    """A face in a photograph.

    Attributes:
        rank: from the lowest on, what is shown first.
        draw: what decides among faces of one rank: by the seed, the path and the face's number, so
            that neither the files' order nor their number matters.
        path, face: of the picture, and the face's number in it.
        place: x, y, width, height and roll in it, as in the table; nothing for all of the picture.
    """

    rank: float
    draw: bytes
    path: str
    face: int
    place: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """As in the table."""
        return abs(self.rank)

    def cut(self, place: Place | None = None) -> UInt8Array:
        """Return the face, uint8 (96, 96, 3) in RGB order.

        Args:
            place: of the table, if that is not on this machine.

        Raises:
            ImageError: the photograph cannot be opened, or is another one now.
        """
        source = fetched(self.path, place) if is_address(self.path) else self.path
        picture = load_picture(source, name=printable(self.path))
        if not self.place:
            return resized(picture, _SIDE, _SIDE, "area")
        x, y, width, height, roll = self.place
        try:
            face = Detection(box=(x, y, width, height), roll=roll)
            return crop(picture, face, size=(_SIDE, _SIDE))
        except ValueError as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(
                printable(f"{self.path}: is not the picture that the table is of: {error}")
            ) from None


class Examples:
    """The faces of each class that are shown, of the rows so far."""

    def __init__(self, table: PredictionTable, *, seed: int = 0, columns: int = COLUMNS) -> None:
        """Begin without faces.

        Args:
            table: the table.
            seed: decides among faces that are equally confident.
            columns: faces in a row.

        Raises:
            DataError: the table does not say in which photographs its faces are.
        """
        if table.kind == "films":
            raise DataError(
                printable(
                    f"{table.shown}: of films, whose frames are no files to cut examples from"
                )
            )
        self._table = table
        self._seed = seed
        self._columns = columns
        self._places: tuple[str, ...] = ("face", "x", "y", "width", "height", "roll")
        if table.kind == "crops":
            self._places = ()
        self._counts: dict[str, int] = {}
        self._kept: dict[tuple[str, int], list[Example]] = {}  # by label and sign of the rank

    def look(self, rows: Rows) -> None:
        """Look at some rows."""
        codes, names = rows.codes("label")
        confidence = rows.numbers("confidence")
        is_shown = rows.is_face() & np.isfinite(confidence)
        for code in np.unique(codes[is_shown]).tolist():
            name = uncell(names[code]) if code >= 0 else ""
            if name not in self._counts and len(self._counts) >= _MOST_CLASSES:
                continue
            of_class = np.flatnonzero(is_shown & (codes == code))
            self._counts[name] = self._counts.get(name, 0) + len(of_class)
            for sign in (-1, 1):
                self._keep(rows, of_class, sign * confidence, (name, sign))

    def _keep(
        self,
        rows: Rows,
        of_class: npt.NDArray[np.intp],
        ranks: npt.NDArray[np.float64],
        key: tuple[str, int],
    ) -> None:
        most = _SPARE * self._columns
        kept = self._kept.setdefault(key, [])
        ranked = ranks[of_class]
        last = np.partition(ranked, most - 1)[most - 1] if len(ranked) > most else np.inf
        if len(kept) == most:
            last = min(last, kept[-1].rank)
        chosen = of_class[ranked <= last]
        kept += self._examples(rows, chosen, ranks[chosen])
        kept.sort()
        del kept[most:]

    def _examples(
        self, rows: Rows, chosen: npt.NDArray[np.intp], ranks: npt.NDArray[np.float64]
    ) -> list[Example]:
        columns = [rows.numbers(name)[chosen].tolist() for name in self._places]
        placed = zip(*columns) if columns else [()] * len(chosen)
        result = []
        for row, rank, place in zip(chosen.tolist(), ranks.tolist(), placed):
            path = rows.text("path", row)
            face = int(place[0]) if place else 1
            text = f"{self._seed}\0{path}\0{face}".encode("utf-8", "surrogateescape")
            draw = hashlib.blake2b(text, digest_size=8).digest()
            result.append(Example(rank, draw, path, face, place[1:]))
        return result

    def draw(self, path: str | os.PathLike[str]) -> list[str]:
        """Draw the sheet and return why photographs cannot be used, a line each.

        In their place stand the next faces, as far as these were kept.

        Raises:
            FerjaxError: no photograph can be used, or the sheet cannot be written.
        """
        problems: dict[str, str] = {}
        rows: list[Row] = []
        names = [name for name in self._table.class_names if name in self._counts]
        for name in [*names, *sorted(set(self._counts) - set(names))]:
            most = self._row(self._kept[name, -1], set(), problems)
            least = self._row(self._kept[name, 1], {e for e, _ in most}, problems)
            label, count = name or _ABSTAINED, self._counts[name]
            detail = f"{count:,} faces\nmost confident"
            rows.append(_row(label, detail, most))
            if least:  # else all faces are in the row above
                rows.append(_row("", "least confident", least, joined=True))
        if not any(len(row.images) for row in rows):
            first = next(iter(problems.values()), "the table has no faces")
            raise FerjaxError(f"no examples for {printable(os.fspath(path))}: {first}")
        title = f"{printable(self._table.name, 60)}: {sum(self._counts.values()):,} faces"
        sheet.draw(rows, path, title=title)
        return list(problems.values())

    def _row(
        self, kept: Sequence[Example], shown: set[Example], problems: dict[str, str]
    ) -> list[tuple[Example, UInt8Array]]:
        """Return faces with their images; `problems` takes why photographs cannot be used."""
        row: list[tuple[Example, UInt8Array]] = []
        places = {(example.path, example.face) for example in shown}
        for example in kept:
            if len(row) == self._columns:
                break
            if example.path in problems or (example.path, example.face) in places:
                continue
            try:
                row.append((example, example.cut(self._table.place)))
            except ImageError as error:
                problems[example.path] = str(error)
        return row


def _row(
    label: str, detail: str, faces: Sequence[tuple[Example, UInt8Array]], *, joined: bool = False
) -> Row:
    return Row(
        label=label,
        detail=detail,
        images=[image for _, image in faces],
        captions=[f"{example.confidence:.3f}" for example, _ in faces],
        joined=joined,
    )
