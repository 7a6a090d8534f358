"""What is done with a part of the pictures or films of a run, wherever that is computed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ferjax import filesystems, image_files, temporary
from ferjax.errors import FerjaxError, VideoError, WriteError, first_line, printable
from ferjax.faces import results
from ferjax.faces.options import FaceOptions
from ferjax.prediction_tables.summary import error_kind
from ferjax.scale import tables
from ferjax.scale.attempts import LEFT_OUT, Attempt
from ferjax.scale.folder import Counts, PartWriter
from ferjax.scale.places import AHEAD, FILM_SUFFIXES, Fetcher, copy_file
from ferjax.scale.predictor import CROP_OPTIONS, FACE_OPTIONS, Predictor, reason_of
from ferjax.scale.tables import Layout

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier
    from ferjax.video.settings import Settings as VideoSettings

PART: Final = 256  # pictures, at most
_ROWS: Final = 4096  # of films, that are written at once


@dataclass(frozen=True)
class Part:
    """Pictures or films that are done together, and written to one file.

    Attributes:
        name: of the file.
        source: the address that they were found at, or "" for paths of this machine.
        paths: of the files, at that address's file system.
    """

    name: str
    source: str
    paths: list[str]

    @property
    def names(self) -> list[str]:
        """What the files are called in their rows."""
        return names_of(self.source, self.paths)


def names_of(source: str, paths: Sequence[str]) -> list[str]:
    """Return what files at an address, or of this machine, are called in their rows."""
    if not source:
        return list(paths)
    place = filesystems.place_of(source)
    return [place.name(path) for path in paths]


class Job:
    """What is asked of pictures or films.

    Attributes:
        suffixes: of the files that are looked for.
        size: how many make a part, at most.
    """

    suffixes = image_files.IMAGE_SUFFIXES
    size = PART

    @property
    def what(self) -> str:
        """What they are called, in what is printed and in the summary."""
        raise NotImplementedError

    def layout(self, classifier: EmotionClassifier) -> Layout:
        """Return the columns of the rows."""
        raise NotImplementedError

    def check(self, classifier: EmotionClassifier) -> None:
        """Raise where the options do not suit the classifier, or a library is missing."""

    def do(
        self, classifier: EmotionClassifier, part: Part, writer: PartWriter, attempt: Attempt
    ) -> Counts:
        """Write the rows of a part, and return what came of it.

        Args:
            classifier: what tells the expressions.
            part: what is to be done.
            writer: takes the rows.
            attempt: knows what is to be left out, and is told what is begun.

        Raises:
            Taken: another call writes to the folder now.
            FerjaxError: what is no file's fault.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class PictureJob(Job):
    """Pictures: the faces in photographs, or crops of one face each.

    Attributes:
        options: of `Predictor`.
        faces: whether faces are to be found.
    """

    options: FaceOptions
    faces: bool = True

    @property
    def what(self) -> str:
        return "photographs" if self.faces else "images"

    def _predictor(self, classifier: EmotionClassifier) -> Predictor:
        names = FACE_OPTIONS if self.faces else CROP_OPTIONS
        options = {name: getattr(self.options, name) for name in names}
        return Predictor(classifier, faces=self.faces, **options)

    def layout(self, classifier: EmotionClassifier) -> Layout:
        return self._predictor(classifier).layout

    def check(self, classifier: EmotionClassifier) -> None:
        self._predictor(classifier)
        self.options.check_values(classifier)

    def do(
        self, classifier: EmotionClassifier, part: Part, writer: PartWriter, attempt: Attempt
    ) -> Counts:
        predictor, layout, counts = self._predictor(classifier), self.layout(classifier), Counts()
        names = part.names
        with (
            writer.part(part.name, layout, counts) as file,
            _opened(part, AHEAD if attempt.is_first else 1) as sources,
        ):
            rows: list[list[str]] = []
            found = _rows(predictor, sources, names, attempt)
            for name, of_picture in zip(names, found, strict=True):
                rows += of_picture
                self._count(counts, name, of_picture)
            file.add(layout.typed(rows))
        return counts

    def _count(self, counts: Counts, name: str, rows: list[list[str]]) -> None:
        counts.inputs += 1
        error = rows[0][-1]
        if error:
            counts.failed += 1
            counts.add_error(error_kind(error, results.path_cell(name)))
        elif self.faces and rows[0][1] == "0":
            counts.empty += 1
        else:
            counts.faces += len(rows)


def _rows(
    predictor: Predictor, sources: Sequence[Any], names: Sequence[str], attempt: Attempt
) -> Iterator[list[list[str]]]:
    """Yield the rows of each picture; one at a time where somebody has died at them."""
    if attempt.is_first:
        yield from predictor.rows(sources, names)
        return
    for index, name in enumerate(names):
        if attempt.begin(index):
            yield from predictor.rows(sources[index : index + 1], [name])
        else:
            yield predictor.rows_of_failure(name, f"{name}: {LEFT_OUT}")


@contextmanager
def _opened(part: Part, ahead: int) -> Iterator[Sequence[Any]]:
    """Yield the files of a part, to be read one after the other."""
    if not part.source:
        yield part.paths
        return
    fetcher = Fetcher(filesystems.place_of(part.source), part.paths, ahead=ahead)
    try:
        yield fetcher.files()
    finally:
        fetcher.close()


@dataclass(frozen=True)
class FilmJob(Job):
    """Films, each a part.

    Attributes:
        settings: of their analysis.
    """

    settings: VideoSettings

    suffixes = FILM_SUFFIXES
    size = 1

    @property
    def what(self) -> str:
        return "films"

    def layout(self, classifier: EmotionClassifier) -> Layout:
        return tables.of_films(classifier.labels)

    def check(self, classifier: EmotionClassifier) -> None:
        from ferjax.video.films import require_av

        require_av()
        self.settings.of_faces.check_values(classifier)

    def do(
        self, classifier: EmotionClassifier, part: Part, writer: PartWriter, attempt: Attempt
    ) -> Counts:
        from ferjax.video.tables import row_of

        layout, counts = self.layout(classifier), Counts()
        (name,), (path,) = part.names, part.paths
        called = results.path_cell(name)
        blank = [""] * (len(layout.names) - 2)
        with writer.part(part.name, layout, counts) as file:
            rows: list[list[str]] = []
            error, frames = "", 0
            try:
                if not attempt.begin(0):
                    raise VideoError(f"{name}: {LEFT_OUT}")
                with _local(part.source, path, name) as film:
                    for frame in self._frames(classifier, film):
                        frames += 1
                        rows += [[called, *row_of(frame, face), ""] for face in frame.faces]
                        if len(rows) >= _ROWS:
                            counts.faces += len(rows)
                            file.add(layout.typed(rows))
                            rows = []
            except VideoError as problem:
                error = str(problem)
            counts.faces += len(rows)
            counts.inputs = 1
            if error:
                counts.failed = 1
                counts.add_error(error_kind(error, results.path_cell(name)))
            counts.empty = int(not counts.faces and not error)
            if error or not counts.faces:
                rows.append([called, *blank, error])
            file.add(layout.typed(rows))
        return counts

    def _frames(self, classifier: EmotionClassifier, film: str) -> Iterator[Any]:
        """Yield the frames of a film; its damages are an error in the end."""
        from ferjax.video.analysis import Analysis

        try:
            analysis = Analysis(classifier, film, self.settings)
            yield from analysis
        except FerjaxError:
            raise
        except Exception as error:  # of a library that fails at it
            Predictor(classifier).check_sound(error)
            raise VideoError(f"{printable(film)}: {reason_of(error)}") from error
        if analysis.problems:
            raise VideoError("; ".join(analysis.problems))


@contextmanager
def _local(source: str, path: str, name: str) -> Iterator[str]:
    """Yield the path of a film on this machine, copied from where it is if need be."""
    if not source:
        yield path
        return
    with temporary.folder("ferjax-film-") as folder:  # killed workers leave theirs
        suffix = os.path.splitext(path)[1]
        copy = os.path.join(folder, f"film{suffix if len(suffix) < 20 else ''}")
        try:
            copy_file(filesystems.place_of(source), path, copy)
        except WriteError:
            raise
        except Exception as error:
            raise VideoError(f"{name}: cannot be read: {first_line(error)}") from error
        try:
            yield copy
        except VideoError as error:
            raise VideoError(str(error).replace(copy, name)) from error


def check_seen(paths: Sequence[str], host: str) -> None:
    """Raise where none of some paths is seen on this machine, which then is not the user's.

    Raises:
        FerjaxError: it says so.
    """
    for path in paths:
        with suppress(OSError, ValueError):
            if os.path.lexists(path):
                return
    raise FerjaxError(
        f"{printable(paths[0])}: not seen on {printable(host)}; give a folder that all machines "
        "see, or an address such as s3://"
    )
