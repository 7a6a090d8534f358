"""One callable for every engine: a batch of pictures in, columns of the same kind out."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np

from ferjax import preprocessing
from ferjax.errors import FerjaxError, ImageError, PriorError, first_line, near_misses
from ferjax.faces import detection, results
from ferjax.faces.face import Photograph
from ferjax.faces.journal import state_of
from ferjax.faces.options import FaceOptions
from ferjax.faces.stream import photographs
from ferjax.prediction import Prediction, check_threshold
from ferjax.priors import is_adapt
from ferjax.scale import tables, workers
from ferjax.scale.tables import Layout

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier
    from ferjax.faces.analysis import Options

PICTURES: Final = ("bytes", "content", "image", "path")
"""Columns that pictures are looked for in: of Ray's binary files, of Spark's, arrays, paths."""

FACE_OPTIONS: Final = tuple(FaceOptions.__dataclass_fields__)
CROP_OPTIONS: Final = ("resize", "channel_order", "calibrated", "prior", "abstain_below")
"""Those of pictures that are one face each."""

_MOST_THREADS: Final = 4  # that decode; more have nothing to do
_BATCH: Final = 32  # crops that are predicted at once

_classifiers: dict[Any, EmotionClassifier] = {}  # of this process, by their file
_lock = threading.Lock()


class Predictor:
    """Says what is on the pictures of a batch; for Ray Data, Spark, Dask and their like.

    It is small and can be pickled: weights are loaded with the first batch, once in a process.
    Whether a worker has a GPU, and how many cores, it is told by the engine. A picture that cannot
    be read has a row with its `error`, and the others are done.

    >>> predictor = Predictor(faces=True, keep=["id"])
    >>> rows = predictor({"bytes": [open("a.jpg", "rb").read()], "id": [7]})  # doctest: +SKIP
    >>> rows["label"], rows["id"]  # doctest: +SKIP
    (array(['happy'], dtype=object), array([7]))
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | EmotionClassifier | None = None,
        *,
        faces: bool = True,
        column: str | None = None,
        names: str = "path",
        keep: Sequence[str] = (),
        engine: str = "auto",
        threads: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Make ready; nothing is loaded yet.

        Args:
            weights: as for `ferjax.load`, a path that every worker has, or a classifier, which then
                travels to them; None: the weights that ferjax brings.
            faces: find the faces of photographs, each of which gets a row; False: each picture is
                one face, cropped to it.
            column: where the pictures are, the bytes of files, arrays or paths; None: the first
                that there is of `bytes`, `content`, `image` and `path`.
            names: the column of what pictures are called, if there is such a one.
            keep: columns of the batch that each row has too, with names that its own have not.
            engine: as for `ferjax.load`.
            threads: how many work on a batch; None: as many as the worker has cores.
            **options: as for `EmotionClassifier.analyze`; without `faces`, as for
                `EmotionClassifier.predict`.

        Raises:
            FerjaxError: there is no such option, or its value is out of range.
        """
        is_path = weights is None or isinstance(weights, (str, os.PathLike))
        if not is_path and not hasattr(weights, "predict_batch"):
            raise FerjaxError(
                "expected a path, a name, a classifier or None for `weights`, got "
                f"{type(weights).__name__}"
            )
        known = FACE_OPTIONS if faces else CROP_OPTIONS
        for name in options:
            if name not in known:
                raise FerjaxError(
                    f"expected an option of {'faces' if faces else 'crops'} among "
                    f"{', '.join(known)}, got {name!r}{near_misses(name, known)}"
                )
        if threads is not None and not (isinstance(threads, int) and threads >= 1):
            raise FerjaxError(f"expected an integer from 1 on for `threads`, got {threads!r}")
        self._weights, self._engine, self._threads = weights, engine, threads
        self._faces, self._column, self._names = faces, column, names
        self._keep = [keep] if isinstance(keep, str) else list(keep)
        if not faces:
            options.setdefault("resize", "linear")  # as published
        self._options = FaceOptions(**options)
        if is_adapt(self._options.prior):
            raise PriorError(
                "expected shares by class, 'uniform' or 'training' for `prior` of batches, got "
                "'adapt', which needs all faces before the first result"
            )
        asked = self._options
        detection.check_options(asked.detector, asked.min_score, asked.min_size, asked.order)
        check_threshold(asked.abstain_below)

    def __repr__(self) -> str:
        what = "faces" if self._faces else "crops"
        return f"<Predictor of {what} by {self._weights or 'the weights that ferjax brings'}>"

    @property
    def classifier(self) -> EmotionClassifier:
        """What tells the expressions, loaded when it is first asked for in this process."""
        weights, engine = self._weights, self._engine
        if weights is not None and not isinstance(weights, (str, os.PathLike)):
            return weights
        # Engines unpickle a Predictor for every task.
        path = None if weights is None else os.fspath(weights)
        key = (path, engine, None if path is None else tuple(state_of(path) or ()))
        with _lock:
            if key not in _classifiers:
                from ferjax.classifier import load

                _classifiers.clear()  # at most one, of the weights that are used now
                _classifiers[key] = load(path, engine=engine)
            return _classifiers[key]

    @property
    def layout(self) -> Layout:
        """The columns of the rows, without those of `keep`; it loads the weights."""
        labels = self.classifier.labels
        return tables.of_faces(labels) if self._faces else tables.of_crops(labels)

    @property
    def schema(self) -> Any:
        """The columns, as a `pyarrow.Schema`, without those of `keep`; it loads the weights.

        Dask takes `schema.empty_table().to_pandas()` for `meta`, and Spark
        `pyspark.sql.pandas.types.from_arrow_schema(schema)`.
        """
        return self.layout.schema()

    def __call__(self, batch: Any) -> Any:
        """Return a row for each face of the pictures of a batch, or for each picture without one.

        Args:
            batch: a dict of arrays or lists, a pandas.DataFrame, a pyarrow.Table or a RecordBatch.

        Returns:
            The same kind, with the columns of `ferjax faces --csv`: `path`, `face` (from 1 on, and
            0 where a picture has none), `x`, `y`, `width`, `height`, ..., `label`, `confidence`,
            the probability of each class, and `error`. Without `faces`: `path`, `label`,
            `confidence`, the probabilities, `error`.

        Raises:
            TypeError: the batch is of no such kind.
            FerjaxError: it has no such column, or the weights cannot be used.
        """
        column = self._column_of(batch)
        images = tables.cells(batch, column)
        given = tables.names_of(batch)
        names = [""] * len(images)
        if self._names in given:
            names = [_text(name) for name in tables.cells(batch, self._names)]
        layout = self.layout
        kept = {name: tables.cells(batch, name) for name in self._kept(layout)}
        for name, cells in {**kept, self._names: names}.items():
            if len(cells) != len(images):
                raise FerjaxError(
                    f"expected as many values in column {name!r} as pictures, {len(images)}, got "
                    f"{len(cells)}"
                )
        sources = [_source(image, name) for image, name in zip(images, names)]
        rows: list[list[str]] = []
        origins: list[int] = []
        for index, part in enumerate(self.rows(sources, names)):
            rows += part
            origins += [index] * len(part)
        chosen = {name: [values[index] for index in origins] for name, values in kept.items()}
        return tables.as_kind(layout.typed(rows), layout, chosen, batch)

    def _kept(self, layout: Layout) -> list[str]:
        """Return the columns of a batch that rows have too, but for that of the names."""
        names = [name for name in self._keep if not name == self._names == "path"]
        twice = [name for name in names if name in layout.names]
        if twice:
            raise FerjaxError(
                f"rows have a column {twice[0]!r} of their own; rename that of the batch for `keep`"
            )
        return names

    def _column_of(self, batch: Any) -> str:
        given = tables.names_of(batch)
        for name in (self._column, self._names, *self._keep, *PICTURES):
            if name is not None and given.count(name) > 1:
                raise FerjaxError(f"expected different columns in the batch, got {name!r} twice")
        for name in (*([] if self._column is None else [self._column]), *self._keep):
            if name not in given:
                raise FerjaxError(
                    f"expected a column {name!r} in the batch, got {', '.join(map(str, given))}"
                    f"{near_misses(name, map(str, given))}"
                )
        if self._column is not None:
            return self._column
        for name in PICTURES:
            if name in given:
                return name
        raise FerjaxError(
            f"expected a column among {', '.join(PICTURES)} in the batch, got "
            f"{', '.join(map(str, given)) or 'none'}; `column` says in which the pictures are"
        )

    # --- rows ------------------------------------------------------------------------------------

    def rows(self, sources: Sequence[Any], names: Sequence[str]) -> Iterator[list[list[str]]]:
        """Yield the rows of each picture, as texts; see `Layout.typed`.

        Args:
            sources: the pictures, as `EmotionClassifier.analyze` takes one.
            names: what each is called in its rows.
        """
        if not self._faces:
            yield from self._crop_rows(sources, names)
            return
        labels = self.classifier.labels
        for entry in self.entries(sources, names):
            yield list(results.whole_rows(entry, labels))

    def rows_of_failure(self, name: str, problem: str) -> list[list[str]]:
        """Return the rows of a picture of which nothing can be said, as texts."""
        labels = self.classifier.labels
        if not self._faces:
            return [tables.crop_row(results.path_cell(name), None, problem, len(labels))]
        photograph = Photograph(source=name, faces=[], error=ImageError(problem))
        return list(results.whole_rows(results.entry_of(name, photograph), labels))

    def entries(self, sources: Sequence[Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield what JSON says of each photograph; see `rows`."""
        for name, photograph in zip(names, self._photographs(sources), strict=True):
            yield results.entry_of(name, photograph)

    def _photographs(self, sources: Sequence[Any]) -> Generator[Photograph, None, None]:
        """Yield the photographs; one that another library fails at carries its error too."""
        done, threads = 0, self._cores
        while done < len(sources):
            try:
                for photograph in self._stream(sources[done:], threads):
                    done += 1
                    yield photograph
            except FerjaxError:
                raise
            except Exception as error:
                self.check_sound(error)
                problem = ImageError(f"{preprocessing.name_of(sources[done])}: {reason_of(error)}")
                yield Photograph(source=sources[done], faces=[], error=problem)
                done += 1
                for source in sources[done:]:  # some were read ahead
                    if hasattr(source, "seek"):
                        source.seek(0)

    def _stream(self, sources: Iterable[Any], threads: int) -> Generator[Photograph, None, None]:
        return photographs(
            self.classifier,
            sources,
            self._options,
            threads=threads,
            full_batches=True,  # a face's numbers do not depend on which others are in its batch
            numbered=False,
        )

    def check_sound(self, error: Exception) -> None:
        """Raise an error that is not a picture's, as of a GPU that is lost."""
        try:
            list(self._stream([np.zeros((64, 64, 3), np.uint8)], 0))
            height, width = self.classifier.image_size
            channels: Any = self.classifier.graph.image_shape[2]
            self.classifier.predict_batch(np.zeros((1, height, width, channels), np.float32))
        except Exception:
            raise error from None

    def _crop_rows(self, sources: Sequence[Any], names: Sequence[str]) -> Iterator[list[list[str]]]:
        classifier, asked, threads = self.classifier, self._options, self._cores
        count = len(classifier.labels)
        with ThreadPoolExecutor(min(threads, _MOST_THREADS), "ferjax-crops") as pool:
            for start in range(0, len(sources), _BATCH):
                part = slice(start, start + _BATCH)
                made = list(pool.map(self._preprocessed, sources[part]))
                readable = [image for image in made if not isinstance(image, str)]
                predictions: Iterator[Prediction] = iter(())
                if readable:
                    probabilities = classifier.predict_batch(
                        np.stack(readable),
                        calibrated=asked.calibrated,
                        prior=asked.prior,
                        threads=threads,
                    )
                    predictions = (
                        classifier.describe(row, abstain_below=asked.abstain_below)
                        for row in probabilities
                    )
                for name, image in zip(names[part], made):
                    is_bad = isinstance(image, str)
                    error = image if isinstance(image, str) else ""
                    path = results.path_cell(name)
                    prediction = None if is_bad else next(predictions)
                    yield [tables.crop_row(path, prediction, error, count)]

    def _preprocessed(self, source: Any) -> np.ndarray | str:
        """Return a picture as the network takes it, (H, W, C), or why it cannot be read."""
        asked = self._options
        try:
            return self.classifier.preprocess(
                source, channel_order=asked.channel_order, resize=asked.resize
            )[0]
        except ImageError as error:
            return str(error)
        except Exception as error:
            return f"{preprocessing.name_of(source)}: {reason_of(error)}"

    @property
    def _cores(self) -> int:
        cores = workers.cores() if self._threads is None else self._threads
        return min(cores, _MOST_THREADS)


class Named(io.BytesIO):
    """The content of a file, which errors call by its name."""

    is_whole = True

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def _source(cell: Any, name: str) -> Any:
    """Return the picture in a cell, which errors are to call by a name."""
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return Named(bytes(cell), name) if name else bytes(cell)
    if _is_none(cell):
        return Named(b"", name or "nothing")
    return cell


def _is_none(cell: Any) -> bool:
    """Whether a cell is empty: None, or what pandas has for it."""
    is_nan = isinstance(cell, float) and cell != cell
    return cell is None or is_nan or type(cell).__name__ in ("NAType", "NaTType")


def _text(cell: Any) -> str:
    return "" if _is_none(cell) else os.fsdecode(cell) if isinstance(cell, bytes) else str(cell)


def reason_of(error: Exception) -> str:
    """Return what is said of a picture or film that another library fails at."""
    return f"{type(error).__name__}: {first_line(error)}"
