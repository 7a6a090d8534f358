"""What is made of a film: files, and what goes together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ferjax.errors import FerjaxError
from ferjax.files import is_same_file
from ferjax.video import tables
from ferjax.video.events import MIN_EVENT
from ferjax.video.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What is made of a film.

    Attributes:
        table: the CSV file with a row for each face of each frame, or None.
        events: the CSV file with a row for each event, or None.
        parquet: the same rows as `table` as a Parquet file, or None.
        drawing: the annotated film, a .webm file, or None.
        plot: the timeline, a picture, or None.
        min_event: seconds that an expression needs to last to be an event.
        anonymise: pixelate the faces in what is drawn.
        resume: go on where an interrupted run with the same settings was.
        force: replace an unfinished run, and files that ferjax did not write.
    """

    table: str | None = None
    events: str | None = None
    parquet: str | None = None
    drawing: str | None = None
    plot: str | None = None
    min_event: float = MIN_EVENT
    anonymise: bool = False
    resume: bool = False
    force: bool = False

    @property
    def files(self) -> dict[str, str | None]:
        """The files, by the names of their options."""
        return {
            "--csv": self.table,
            "--events": self.events,
            "--parquet": self.parquet,
            "--draw": self.drawing,
            "--plot": self.plot,
        }

    def check(self, settings: Settings) -> None:
        """Raise a FerjaxError where what is asked for does not go together."""
        given = {name: path for name, path in self.files.items() if path is not None}
        for name, path in given.items():
            if path == "":
                raise FerjaxError(f"expected a path for {name}, got an empty string")
            if name == "--draw" and not path.lower().endswith(".webm"):
                raise FerjaxError(f"expected a name that ends in .webm for --draw, got {path}")
        paths = list(given.values())
        if any(is_same_file(a, b) for i, a in enumerate(paths) for b in paths[:i]):
            raise FerjaxError(f"expected another file for each of {', '.join(given)}")
        if self.anonymise and self.drawing is None:
            raise FerjaxError("--anonymise is for what --draw draws: give --draw FILE.webm too")
        if self.anonymise:
            check_anonymised(settings)
        if self.resume and not given:
            raise FerjaxError(f"--resume goes on with what a run wrote: give {_listed(self.files)}")
        if self.parquet is not None:
            tables.require_pyarrow()
        if self.plot is not None:
            from ferjax.video.timeline import check_plot

            check_plot(self.plot)


def check_anonymised(settings: Settings) -> None:
    """Raise a FerjaxError where settings would leave faces that are to be pixelated."""
    if settings.max_faces or settings.region:
        raise FerjaxError(
            "--max-faces and --region would leave faces as they are that --anonymise is to hide"
        )


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"
