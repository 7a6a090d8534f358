"""A run over one film: what is seen in it, and the files that are made of that.

Results come frame by frame and are kept nowhere, so that memory does not grow with the film. What
was written is whole after each frame; a `Checkpoint` lets an interrupted run go on.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ferjax.classifier import EmotionClassifier
from ferjax.errors import FerjaxError, WriteError, printable
from ferjax.files import check_file, check_folder, hidden_beside, is_same_file, make_folder
from ferjax.video import tables
from ferjax.video.analysis import Analysis
from ferjax.video.checkpoint import Checkpoint
from ferjax.video.events import Event, Events
from ferjax.video.films import scheme_of
from ferjax.video.interrupts import held_back
from ferjax.video.made import is_made
from ferjax.video.outputs import Outputs
from ferjax.video.seen import VideoFrame
from ferjax.video.settings import Settings
from ferjax.video.sources import Source
from ferjax.video.webm import Webm

SNAPSHOTS: Final = 2.0  # seconds between two checkpoints


@dataclass
class Counts:
    """What was seen so far.

    >>> print(Counts(frames=300, faces=280, tracks=2, events=5))
    300 frames: 280 faces of 2 tracks, 5 events
    """

    frames: int = 0
    faces: int = 0
    tracks: int = 0
    events: int = 0

    def add(self, frame: VideoFrame, events: Sequence[Event]) -> None:
        self.frames += 1
        self.faces += len(frame.faces)
        self.tracks = max([self.tracks, *(face.track for face in frame.faces)])
        self.events += len(events)

    def __str__(self) -> str:
        counted = {name: _counted(number, name[:-1]) for name, number in vars(self).items()}
        return "{frames}: {faces} of {tracks}, {events}".format(**counted)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@dataclass
class _Files:
    """The tables that are being written."""

    rows: tables.CsvFile | None = None
    events: tables.CsvFile | None = None
    hidden: list[str] = field(default_factory=list)

    @property
    def listed(self) -> list[tables.CsvFile]:
        return [file for file in (self.rows, self.events) if file is not None]

    def offsets(self) -> list[int | None]:
        return [None if file is None else file.offset for file in (self.rows, self.events)]


class Run:
    """A run over one film.

    Attributes:
        analysis: what finds the faces.
        counts: what was seen so far.
        resumed_at: the time of the frame that the run goes on after, in seconds, or None.
        saved_at: the time of the frame that a resumed run would go on after, in seconds, or None.
        ending: once the run has ended, the events that went on to the end.

    >>> run = Run(classifier, "film.mp4", Settings(), Outputs(table="film.csv"))  # doctest: +SKIP
    >>> for frame, events in run:  # doctest: +SKIP
    ...     print(frame.time, [face.label for face in frame.faces])
    """

    def __init__(
        self,
        classifier: EmotionClassifier,
        source: Source,
        settings: Settings,
        outputs: Outputs,
    ) -> None:
        """Open the film and make ready to write; nothing is written yet.

        Raises:
            FerjaxError: what is asked for does not go together, or there is no run that `resume`
                can go on with.
            VideoError: the film cannot be opened.
            WriteError: something is in the way that `force` replaces, or cannot be written.
        """
        outputs.check(settings)
        self._classifier, self._settings, self._outputs = classifier, settings, outputs
        self._source = source
        self.counts = Counts()
        self.resumed_at: float | None = None
        self.saved_at: float | None = None
        self.ending: list[Event] = []
        self._files = _Files()
        self._webm: Webm | None = None
        self._events = Events(min_event=outputs.min_event)
        self._asked = self._said(source)
        self._checkpoint, self._saved = self._prepared()
        try:
            self.analysis = self._begun()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if self._saved is None or isinstance(error, FerjaxError):
                raise
            assert self._checkpoint is not None
            raise FerjaxError(
                printable(f"{self._checkpoint.path}: is damaged; --force begins the run anew")
            ) from error

    def _begun(self) -> Analysis:
        """Open the film, and restore what is known of a run that is gone on with."""
        saved = self._saved
        if saved is not None:
            self._events.restore(saved["events"])
            self.counts = Counts(*saved["counts"])
            self.resumed_at = self.saved_at = float(saved["time"])
        return Analysis(
            self._classifier,
            self._source,
            self._settings,
            state=None if saved is None else saved["state"],
            snapshots=SNAPSHOTS if self.goes_on else None,
        )

    @property
    def engine(self) -> str:
        """What computes: "jax" or "onnx"."""
        return self._classifier.engine

    @property
    def goes_on(self) -> bool:
        """Whether `resume` can go on with the run where it was interrupted."""
        return self._checkpoint is not None

    @property
    def _is_unfinished(self) -> bool:
        """Whether there is a record by which `resume` goes on with the run."""
        return self._checkpoint is not None and self._checkpoint.path.exists()

    # --- before ----------------------------------------------------------------------------------

    def _said(self, source: Source) -> dict[str, Any]:
        """Return all that results depend on, by the names of the options."""
        files = self._outputs.files
        return {
            **self._settings.asked(self._classifier),
            "--min-event": self._outputs.min_event,
            "--anonymise": self._outputs.anonymise,
            **{n: p if p is None else os.path.realpath(p) for n, p in files.items()},
            "given": [os.path.abspath(source) if isinstance(source, (str, os.PathLike)) else ""],
        }

    def _prepared(self) -> tuple[Checkpoint | None, dict[str, Any] | None]:
        """Check what is in the way, and return the record of the run and what is saved in it."""
        outputs, source = self._outputs, self._source
        paths = [path for path in outputs.files.values() if path is not None]
        is_path = isinstance(source, (str, os.PathLike)) and not scheme_of(os.fspath(source))
        film = os.path.realpath(source) if is_path else None
        for path in paths:
            check_file(path)
            if film is not None and is_same_file(path, film):
                raise WriteError(f"{path}: is the film itself; give another name")
        for made in (outputs.parquet, outputs.plot):
            if made is not None:  # which is replaced as a whole, in the end
                check_folder(os.path.dirname(os.path.realpath(made)))
        is_file = film is not None and os.path.isfile(film)
        if outputs.resume and not is_path:  # that a path leads to no film, opening it says
            raise FerjaxError("--resume is for films in files; a camera or a stream has gone on")
        record, saved = None, None
        if is_file and paths:
            first = paths[0]
            record = Checkpoint(first)
            check_folder(record.path.parent)
            if record.saved is not None and outputs.resume and not outputs.force:
                saved = record.check(self._asked, os.fspath(source), first)
            elif record.saved is not None and not outputs.force and os.path.exists(first):
                raise WriteError(
                    f"{first}: is of an unfinished run; --resume goes on with it, --force replaces "
                    "it"
                )
        if not outputs.force:
            self._check_kinds()
        return record, saved

    def _check_kinds(self) -> None:
        """Raise where a file is in the way that ferjax did not write."""
        outputs = self._outputs
        kinds = (
            (outputs.table, tables.is_table),
            (outputs.events, tables.is_events),
            (outputs.parquet, is_made),
            (outputs.drawing, is_made),
            (outputs.plot, is_made),
        )
        for path, is_ours in kinds:
            if path is not None and os.path.exists(path) and not is_ours(path):
                raise WriteError(f"{path}: ferjax did not write it; --force replaces it")

    def _open(self) -> None:
        """Begin the files, or go on with them."""
        try:
            self._open_files()
        except WriteError:
            for file in self._files.listed:
                with suppress(WriteError):
                    file.close()
            raise

    def _open_files(self) -> None:
        outputs = self._outputs
        for path in outputs.files.values():
            if path is not None:
                make_folder(os.path.dirname(os.path.realpath(path)))
        offsets = [None, None] if self._saved is None else self._saved["offsets"]
        rows, events = outputs.table, outputs.events
        last = outputs.parquet or outputs.plot
        if last is not None:  # they are made of tables, in the end
            rows = rows or self._hidden(last, "rows")
            events = events or (self._hidden(last, "events") if outputs.plot else None)
        self._rows_path, self._events_path = rows, events
        columns = tables.columns(self._classifier.labels)
        if rows is not None:
            self._files.rows = tables.CsvFile(rows, columns, offset=offsets[0])
        if events is not None:
            self._files.events = tables.CsvFile(events, tables.EVENTS, offset=offsets[1])
        if outputs.drawing is not None:
            self._webm = Webm(
                outputs.drawing,
                anonymise=outputs.anonymise,
                state=None if self._saved is None else self._saved["drawing"],
            )

    def _hidden(self, beside: str, what: str) -> str:
        path = os.fspath(hidden_beside(beside, f".{what}.csv"))
        self._files.hidden.append(path)
        return path

    # --- meanwhile -------------------------------------------------------------------------------

    def __iter__(self) -> Generator[tuple[VideoFrame, list[Event]], None, None]:
        """Yield each frame with the events that are over with it, once they are written.

        However it ends, by an error or because it is closed, the files that were begun are whole,
        and `ending` has the events that went on.

        Raises:
            VideoError: as for `Analysis`.
            WriteError: a file cannot be written.
        """
        self._open()
        frames = iter(self.analysis)
        is_done = False
        try:
            for frame in frames:
                with held_back():
                    events = self._add(frame)
                yield frame, events
            is_done = True
        finally:
            frames.close()
            self._finish(is_done)

    def _add(self, frame: VideoFrame) -> list[Event]:
        """Write a frame, and return the events that are over with it."""
        faces = [(face.track, face.label, face.confidence) for face in frame.faces]
        events = self._events.add(frame.time, faces, set(frame.live))
        self._write(frame, events)
        return events

    def _write(self, frame: VideoFrame, events: list[Event]) -> None:
        if self._files.rows is not None:
            self._files.rows.add([tables.row_of(frame, face) for face in frame.faces])
        if self._files.events is not None:
            self._files.events.add([tables.event_row(event) for event in events])
        self.counts.add(frame, events)
        if self._webm is not None:
            self._webm.add(frame)
        if self._checkpoint is not None and self.analysis.state is not None:
            # Or after a power cut the record may know of more than is there.
            for file in self._files.listed:
                file.sync()
            if self._webm is not None:
                self._webm.sync()
            self._checkpoint.save(
                self._asked,
                os.fspath(self._source),
                {
                    "state": self.analysis.state,
                    "events": self._events.state(),
                    "counts": list(vars(self.counts).values()),
                    "offsets": self._files.offsets(),
                    "drawing": None if self._webm is None else self._webm.state(),
                    "time": frame.time,
                },
            )
            self.saved_at = frame.time

    # --- in the end ------------------------------------------------------------------------------

    def _finish(self, is_done: bool) -> None:
        """Close all files, and make those that are made of others."""
        problem: WriteError | None = None
        try:
            with held_back():
                self._close()
        except WriteError as error:
            problem = error
        if problem is None:
            self._make_of_tables()
        if problem is None and (is_done or not self._is_unfinished):
            if self._checkpoint is not None:
                self._checkpoint.remove()
            for path in self._files.hidden:
                with suppress(OSError):
                    os.unlink(path)
        if problem is not None and is_done:
            raise problem

    def _close(self) -> None:
        """Write the events that went on, and close the tables and the annotated film."""
        over = self.ending = self._events.finish()
        self.counts.events += len(over)
        try:
            if self._files.events is not None:
                self._files.events.add([tables.event_row(event) for event in over])
            for file in self._files.listed:
                file.close()
        finally:
            if self._webm is not None:
                self._webm.close()

    def _make_of_tables(self) -> None:
        outputs, labels = self._outputs, self._classifier.labels
        if outputs.parquet is not None:
            assert self._rows_path is not None
            tables.write_parquet(outputs.parquet, self._rows_path, labels, engine=self.engine)
        if outputs.plot is not None:
            from ferjax.video.timeline import plot_tables

            assert self._rows_path is not None and self._events_path is not None
            name = os.path.basename(self.analysis.name) or self.analysis.name
            plot_tables(outputs.plot, self._rows_path, self._events_path, labels, title=name)
