"""A run over many photographs: their faces, and the files that are made of them.

Results come one by one and are kept nowhere, so that memory does not grow with their number. What
is done is recorded in a `Journal`: beside the table, or else in the folder of drawings or crops.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ferjax.classifier import EmotionClassifier
from ferjax.errors import FerjaxError, WriteError
from ferjax.faces import outputs, prior, results
from ferjax.faces.face import Photograph
from ferjax.faces.journal import Journal, State, state_of
from ferjax.faces.picture_files import PictureFiles
from ferjax.faces.settings import Settings, check_resumed
from ferjax.faces.stream import photographs
from ferjax.faces.yunet_network import read_model
from ferjax.files import check_file, check_folder, hidden_beside, is_same_file, make_folder
from ferjax.priors import Prior, is_adapt

_WRITERS: Final = 4  # threads, which mostly wait for the disk
WAITING: Final = 4  # photographs whose files may be in the making


@dataclass
class _Written:
    """A photograph whose files are being written, or one that an earlier run did."""

    index: int
    entry: dict[str, Any] | None = None  # None: of the earlier run
    state: State | None = None  # None: it is not to be recorded
    files: list[Future[Path]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return all(file.done() for file in self.files)


class Batch:
    """A run over photographs.

    Attributes:
        total: how many photographs there are.
        left_out: how many of the files are drawings or crops that ferjax made.
        counts: what came of those whose entries were given.
        processed: how many of these were not taken from an earlier run.

    >>> for entry in Batch(classifier, ["photos"], Settings(draw="out")):  # doctest: +SKIP
    ...     print(entry["path"], len(entry["faces"]))
    """

    def __init__(
        self, classifier: EmotionClassifier, given: Sequence[str], settings: Settings
    ) -> None:
        """Find the photographs and make the folders ready; no photograph is read.

        Args:
            given: paths of photographs, and of folders, which are searched for them.

        Raises:
            ImageError: a folder holds no photographs.
            FerjaxError: settings do not go together or do not suit the classifier, or there is
                something in the way that `force` replaces, or no run that `resume` can go on with.
            DetectorError: the detector's file is missing or altered.
            WriteError: a file or folder cannot be written to.
        """
        settings.check()
        read_model()  # says so where the detector's file is missing or altered
        classifier.check_confidence(calibrated=settings.calibrated, prior=settings.prior)
        if settings.explain:
            from ferjax.explain import check_network  # takes OpenCV along

            check_network(classifier)
        self._classifier, self._settings = classifier, settings
        self._prior = settings.prior
        self.counts = results.Counts()
        self.processed = 0
        folders = [folder for folder in (settings.draw, settings.crops) if folder is not None]
        self._inputs, self.left_out = outputs.find_photographs(given)
        self._sources = {os.path.realpath(item.path) for item in self._inputs}
        for folder in folders:
            check_folder(folder)
        if settings.table is not None:
            check_file(settings.table)
            self._check_table(settings.table)
        self._pictures = PictureFiles(classifier, self._inputs, settings)
        self._journal: Journal | None = None
        self._going_on = False
        self._folders: list[str | Path] = []
        self._asked: dict[str, Any] = {}  # of a run that is recorded
        if folders or settings.table is not None:
            classifier.prepare(threads=1)
            asked = self._asked = settings.asked(classifier, given)
            # Runs over other photographs may draw into the same folder, at the same time.
            name = hashlib.sha256("\0".join(asked["given"]).encode(errors="replace")).hexdigest()
            self._prepare(asked, settings.table or Path(folders[0], f"ferjax-faces-{name[:12]}"))
        self._done = frozenset(index for index in range(self.total) if self._is_done(index))

    @property
    def total(self) -> int:
        return len(self._inputs)

    @property
    def recorded(self) -> int:
        """How many of the photographs an earlier run did."""
        return len(self._done)

    @property
    def left_to_say(self) -> str:
        """How far the run is, for one that is interrupted."""
        resume = "" if self._journal is None else "; --resume goes on with the others"
        return f"{self.counts.photographs:,} of {self.total:,} photographs are done{resume}"

    @property
    def paths(self) -> list[str]:
        """The photographs, as they were given or found."""
        return [os.fspath(item.path) for item in self._inputs]

    def _check_table(self, table: str) -> None:
        exists = os.path.exists(table)
        is_linked = (
            exists and os.stat(table).st_nlink > 1
        )  # few files are; the photographs are many
        if os.path.realpath(table) in self._sources or (
            is_linked and any(is_same_file(table, source) for source in self._sources)
        ):
            raise WriteError(f"{table}: is one of the photographs; give another name for --csv")
        if exists and not self._settings.force and not results.is_table(table):
            raise WriteError(f"{table}: is no table that ferjax wrote; --force replaces it")

    def _prepare(self, asked: dict[str, Any], beside: str | Path) -> None:
        """Find the record of an earlier run, and begin one or make ready to go on."""
        settings = self._settings
        path = hidden_beside(beside, ".resume")
        check_folder(path.parent)
        journal = Journal(path)
        going_on = settings.resume and not settings.force and journal.asked is not None
        if going_on:
            check_resumed(journal.asked, asked, os.fspath(settings.table or path.parent))
        elif (
            settings.table
            and journal.unfinished
            and not (settings.force or settings.resume)
            and os.path.exists(settings.table)
        ):
            raise WriteError(
                f"{settings.table}: is of an unfinished run; --resume goes on with it, --force "
                "replaces it"
            )
        self._going_on, self._journal = going_on, journal
        self._folders = [f for f in (settings.draw, settings.crops, path.parent) if f is not None]
        if going_on and self.needs_estimate:
            self._prior = prior.recorded(journal, self._classifier.labels)
        if not self.needs_estimate:  # which may fail, and leaves nothing behind then
            self._make_folders()

    def _make_folders(self) -> None:
        for folder in self._folders:
            make_folder(folder)

    @property
    def needs_estimate(self) -> bool:
        """Whether the prior is still to be estimated, from all photographs."""
        return is_adapt(self._prior)

    @property
    def prior(self) -> Prior:
        """The prior of the results; once it is estimated, shares by label."""
        return self._prior

    def estimate_prior(self, advance: Callable[[int], None] | None = None) -> int:
        """Estimate the prior from the faces of all photographs, and return how many faces they are.

        Their probabilities alone are kept. Iterating does it where this was not called before.

        Args:
            advance: called with 1 after each photograph.

        Raises:
            PriorError: there are too few faces.
        """
        paths = [item.path for item in self._inputs]
        self._prior, faces = prior.estimate(self._classifier, paths, self._settings, advance)
        self._asked[prior.RECORDED] = self._prior
        self._make_folders()
        return faces

    def _is_done(self, index: int) -> bool:
        """Whether an earlier run did a photograph, and it and its files are as then."""
        if self._journal is None or not self._going_on:
            return False
        item = self._inputs[index]
        if not self._journal.is_current(item.key, state_of(item.path)):
            return False
        record = self._record(index)
        if record is None:
            return False
        faces = len(record["entry"].get("faces", ()))
        return self._pictures.are_there(index, record.get("drawing"), faces)

    def _record(self, index: int) -> dict[str, Any] | None:
        """Return what an earlier run recorded of a photograph, or None."""
        assert self._journal is not None
        record = self._journal.result(self._inputs[index].key)
        usable = isinstance(record, dict) and isinstance(record.get("entry"), dict)
        return record if usable else None

    def _recorded(self, index: int) -> dict[str, Any]:
        """Return the entry of a photograph that an earlier run did."""
        record = self._record(index)
        if record is None:
            assert self._journal is not None
            raise FerjaxError(f"{self._journal.path}: was changed during the run")
        return {**record["entry"], "path": os.fspath(self._inputs[index].path)}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the entry of each photograph, in order, once its files are written.

        Raises:
            WriteError: a file cannot be written.
        """
        if self.needs_estimate:
            self.estimate_prior()
        journal, settings = self._journal, self._settings
        table = None
        try:
            if journal is not None:
                if self._going_on:
                    journal.go_on()
                    self._pictures.remove_left_over()
                else:
                    journal.begin(self._asked)
            if settings.table is not None:
                names = (os.fspath(item.path) for item in self._inputs)
                table = results.Table(
                    settings.table,
                    self._classifier.labels,
                    ascii_only=all(name.isascii() for name in names),
                )
            for entry in self._entries():
                if table is not None:
                    table.add(entry)
                self.counts.add(entry)
                yield entry
            if table is not None:
                table.close()
            if journal is not None:
                journal.end(keep=table is not None and self.total > 1)
        finally:
            if table is not None:
                table.abandon()
            if journal is not None:
                journal.close()

    def _entries(self) -> Iterator[dict[str, Any]]:
        states: dict[Path, State | None] = {}  # of those that are at work
        with closing(
            photographs(
                self._classifier,
                self._sources_left(states),
                replace(self._settings, prior=self._prior),
                keep_images=self._pictures.are_wanted,
                # So that a face's numbers do not depend on its neighbours', where there are any.
                full_batches=self.total > 1,
            )
        ) as fresh:
            writing: deque[_Written] = deque()
            with ThreadPoolExecutor(_WRITERS, thread_name_prefix="ferjax-write") as pool:
                try:
                    for index in range(self.total):
                        if index in self._done:
                            writing.append(_Written(index))
                        else:
                            photograph = next(fresh)
                            path = self._inputs[index].path
                            writing.append(self._write(pool, index, photograph, states.pop(path)))
                            del photograph  # its pixels, while the next is waited for
                        while len(writing) > WAITING or (writing and writing[0].is_done):
                            yield self._finished(writing.popleft())
                    while writing:
                        yield self._finished(writing.popleft())
                finally:
                    pool.shutdown(wait=True, cancel_futures=True)

    def _sources_left(self, states: dict[Path, State | None]) -> Iterator[Path]:
        for index, item in enumerate(self._inputs):
            if index not in self._done:
                states[item.path] = state_of(item.path)
                yield item.path

    def _write(
        self, pool: Executor, index: int, photograph: Photograph, state: State | None
    ) -> _Written:
        """Begin to write the files of a photograph."""
        engine = self._classifier.prepare(threads=1) if photograph.faces else None
        entry = results.entry_of(os.fspath(self._inputs[index].path), photograph, engine=engine)
        files = self._pictures.begin(pool, index, photograph)
        return _Written(index, entry, None if photograph.error else state, files)

    def _finished(self, written: _Written) -> dict[str, Any]:
        """Wait until the files of a photograph are written, record it, and return its entry."""
        index = written.index
        if written.entry is None:
            return self._recorded(index)
        paths = [file.result() for file in written.files]
        self._remove_crops(index, len(written.entry["faces"]))
        if self._journal is not None and written.state is not None:
            drawing = paths[0].name if self._settings.draw is not None else None
            record = {"entry": written.entry, "drawing": drawing}
            self._journal.add(self._inputs[index].key, written.state, record)
        self.processed += 1
        return written.entry

    def _remove_crops(self, index: int, faces: int) -> None:
        """Remove the crops that the run made of faces that a photograph has no more."""
        record = self._record(index) if self._going_on else None
        if record is not None:
            self._pictures.remove_crops(index, faces, len(record["entry"].get("faces", ())))
