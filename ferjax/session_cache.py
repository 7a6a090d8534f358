"""Networks as ONNX Runtime has optimised them, kept between processes.

A second start then neither opens the weight file, of which it needs the hash alone, nor writes and
optimises the network's ONNX. An entry is a folder: the optimised model, its weights in a file that
is mapped into memory, and what else a classifier takes from the weight file. Its name is a hash of
the weight file's content and of all that decides what lies in it; entries are never changed, but
made anew. They lie in the user's cache folder, in a folder that nobody else may write to; what is
damaged there counts as if it was not there, and what cannot be written is not kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import secrets
import shutil
import stat
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from ferjax import background, digests, hardware, metadata
from ferjax._version import __version__
from ferjax.errors import FerjaxError, WeightFileError
from ferjax.files import chunks, user_cache
from ferjax.nets.graph import Call, Graph
from ferjax.nets.initializers import L1L2, Initializer
from ferjax.nets.layers import VOCABULARY
from ferjax.nets.variables import arrays_of, read_only

if TYPE_CHECKING:
    from ferjax.onnx.engine import Engine

SWITCH: Final = "FERJAX_SESSION_CACHE"  # "0" in the environment: nothing is kept or looked up
MOST_ENTRIES: Final = 8
MOST_BYTES: Final = 300 << 20  # of all entries
_MODEL, _FACTS = "model.onnx", "facts"
_MOST_FACTS: Final = 4 << 20  # bytes
_LEFT_OVER: Final = 3600.0  # seconds after which nobody is still writing
# Whose code decides what an entry holds.
_CODE: Final = ("keras", "nets", "nets/layers", "onnx")

# What a disk, ONNX Runtime, or a graph that JSON does not hold raises where nothing can be kept.
_NOT_KEPT: Final = (OSError, FerjaxError, LookupError, TypeError, ValueError, RecursionError)

OnnxParts: TypeAlias = tuple[bytes, dict[str, np.ndarray]]
"""What `ferjax.onnx.exporting.to_parts` returns: a model, and its large arrays."""

_is_on = False
_writers: list[threading.Event] = []  # of each thread that writes an entry


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Look up and keep what is loaded inside of this, unless the environment says not to."""
    global _is_on
    before, _is_on = _is_on, os.environ.get(SWITCH) != "0"
    try:
        yield
    finally:
        _is_on = before
        finish()


def finish() -> None:
    """Wait for the threads that write entries."""
    while True:
        try:
            written = _writers.pop()
        except IndexError:
            return
        written.wait()


def _begin(write: Callable[[], None]) -> None:
    """Write an entry in a thread, for which `finish` waits; at once where there can be none."""
    written = background.begin(write, "ferjax-keep")
    if written is None:
        write()
    else:
        _writers.append(written)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_writers.clear)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a classifier takes from a weight file beside the variables."""

    graph: Graph
    labels: list[str] | None
    metadata: dict[str, Any]


class Entry:
    """What is kept of a weight file, or would be.

    Attributes:
        path: the weight file.
        digest: its SHA-256 when this was made.
        folder: where the entry is.
    """

    def __init__(self, path: Path, digest: str, folder: Path) -> None:
        self.path, self.digest, self.folder = path, digest, folder

    @classmethod
    def of(cls, path: Path) -> Entry | None:
        """Return the entry of a weight file; None where nothing is kept of it.

        Nothing is outside of `keeping`, of what is no file, or a large one, without ONNX Runtime,
        and where the cache's folder is not the user's own.
        """
        try:
            if not _is_on or metadata.in_parts(path) or not path.is_file():
                return None
            if path.stat().st_size > digests.LARGEST or not _is_private(root := cache_folder()):
                return None
            # ONNX Runtime is imported while a thread may be hashing the file.
            key = [__version__, _newest(), hardware.onnx_runtime().__version__]
            key += [sys.platform, platform.machine(), hardware.cpu_features()]
            digest = digests.precomputed(path)
        except (OSError, RuntimeError, ImportError, ValueError):  # no home, no such path
            return None
        name = hashlib.sha256(json.dumps([*key, digest]).encode()).hexdigest()[:32]
        return cls(path.absolute(), digest, root / name)

    @cached_property
    def _stored(self) -> dict[str, Any] | None:
        """What the entry says, whole; None where there is none, or it is damaged."""
        path = self.folder / _FACTS
        try:
            if not _is_private(self.folder) or path.stat().st_size > _MOST_FACTS:
                return None
            checksum, text = path.read_bytes().split(b"\n", 1)
            if int(checksum) != zlib.crc32(text):
                return None
            stored: dict[str, Any] = json.loads(text)
        except (OSError, ValueError):
            return None
        with contextlib.suppress(OSError):  # the least recently used is removed first
            os.utime(path)
        return stored

    def facts(self) -> Facts | None:
        """Return what the entry says of the weight file; None where there is none."""
        try:
            return None if self._stored is None else _facts(self._stored)
        except _NOT_KEPT:
            return None

    def open(self, threads: int | None) -> Engine | None:
        """Return the kept model, ready to run; None where there is none, or it is damaged."""
        from ferjax.onnx.engine import Engine

        try:
            if self._stored is None or self._stored["files"] != _files(self.folder):
                return None
            return Engine(self.folder / _MODEL, threads=threads, is_optimized=True)
        except _NOT_KEPT:
            return None

    def made(self, facts: Facts, parts: OnnxParts, threads: int | None) -> Engine:
        """Return a new session of a network; a thread writes the entry, where that can be done.

        Args:
            parts: of the network.

        Raises:
            FerjaxError: ONNX Runtime is missing, or cannot run the network.
        """
        from ferjax.onnx.engine import Engine

        content, arrays = parts
        opened = partial(Engine, content, arrays=arrays, threads=threads)
        try:
            folder = self._temporary()
        except _NOT_KEPT:
            return opened()
        try:
            made = opened(optimized=folder / _MODEL)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            # A full disk is an error of ONNX Runtime's, or shows in what it has written.
            if isinstance(error, _NOT_KEPT):
                return opened()
            raise
        _begin(lambda: self._keep(folder, facts))
        return made

    def _temporary(self) -> Path:
        """Return a new folder beside the entry."""
        root = self.folder.parent
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(root):
            raise PermissionError(f"{root} is not the user's own")
        folder = root / f".{self.folder.name}.{secrets.token_hex(4)}.tmp"
        folder.mkdir(mode=0o700)
        return folder

    def _keep(self, folder: Path, facts: Facts) -> None:
        """Make the entry of a folder that has the optimised model, once that can be opened."""
        from ferjax.onnx.engine import Engine

        try:
            with contextlib.suppress(*_NOT_KEPT):
                digest = digests.BackgroundSha256(self.path)
                Engine(folder / _MODEL, threads=1, is_optimized=True)
                self._publish(folder, facts, digest)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _publish(self, folder: Path, facts: Facts, digest: digests.BackgroundSha256) -> None:
        """Make the entry of a folder that has the optimised model, if it says what is so."""
        files = _files(folder)
        text = _text(facts, files)
        size = len(text) + sum(size for size, _ in files.values())
        if size > MOST_BYTES or len(text) > _MOST_FACTS:
            return
        if not _is_same(_facts(json.loads(text)), facts) or digest.result() != self.digest:
            return
        (folder / _FACTS).write_bytes(b"%d\n%b" % (zlib.crc32(text), text))
        shutil.rmtree(self.folder, ignore_errors=True)  # it is damaged
        folder.rename(self.folder)
        self.__dict__.pop("_stored", None)
        _tidy(self.folder.parent)

    def is_current(self) -> bool:
        """Whether the weight file is the one that the entry is of."""
        try:
            return digests.sha256(self.path) == self.digest
        except OSError:
            return False


class Kept(Mapping[str, Any]):
    """Variables that an entry may stand for: {"params", "batch_stats"}, read when asked for.

    Attributes:
        entry: where what computes with them is kept.
        arrays: those that have been read, in their order.
    """

    def __init__(
        self,
        entry: Entry,
        facts: Facts,
        *,
        variables: Mapping[str, Any] | None = None,
        read: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Stand for the variables of a weight file.

        Args:
            facts: what else the weight file has.
            variables: those that are read already.
            read: returns those in the weight file.
        """
        self.entry, self._facts, self._read = entry, facts, read
        self._variables: dict[str, Any] | None = None
        self._parts: OnnxParts | None = None
        if variables is not None:
            self._variables = read_only(variables)
            # Not in the thread that opens the session: there it would wait for Python's lock with
            # each import of the thread that reads images.
            with contextlib.suppress(FerjaxError):  # `session` raises it again
                self._parts = self._to_parts()
        self.arrays = arrays_of(self._variables or {})

    @property
    def variables(self) -> dict[str, Any]:
        """The variables themselves, which cannot be written to; always the same.

        Raises:
            WeightFileError: the weight file is another by now, or gone.
        """
        if self._variables is None:
            try:
                variables = read_only(self._read())
            finally:  # another file may be damaged, too
                self._check()
            self._variables, self.arrays = variables, arrays_of(variables)
        return self._variables

    def _check(self) -> None:
        if not self.entry.is_current():
            raise WeightFileError(
                self.entry.path, "has changed since it was loaded, or is gone; load it anew"
            )

    def session(self, threads: int | None) -> Engine:
        """Return a session of the network: the one that is kept, or a new one, which is kept then.

        Raises:
            FerjaxError: ONNX Runtime is missing, or cannot run the network; or the weight file is
                needed, and another by now.
        """
        if (kept := self.entry.open(threads)) is not None:
            return kept
        parts, self._parts = self._parts or self._to_parts(), None
        return self.entry.made(self._facts, parts, threads)

    def _to_parts(self) -> OnnxParts:
        from ferjax.onnx.exporting import to_parts

        return to_parts(self._facts.graph, self.variables)

    def __getitem__(self, name: str) -> Any:
        return self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)


def cache_folder() -> Path:
    """Return the folder of all entries.

    Raises:
        RuntimeError: the user has no home.
    """
    return user_cache() / "onnx-runtime"


def _is_private(folder: Path) -> bool:
    """Whether nobody but the user may write to a folder, or it is not there yet.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return True
    if not stat.S_ISDIR(status.st_mode):
        return False
    if os.name == "nt":  # where a user's folder is the user's own
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _newest() -> int:
    """Return when the code last changed, as in a checkout, that decides what an entry holds."""
    package = Path(__file__).parent
    changed = (
        entry.stat().st_mtime_ns
        for room in _CODE
        for entry in os.scandir(package / room)
        if entry.name.endswith(".py")
    )
    return max(changed)


def _files(folder: Path) -> dict[str, list[int]]:
    """Return the [size, CRC-32] of each file with which ONNX Runtime wrote a model.

    Of damaged ones it may crash.
    """
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == _FACTS:
                continue
            size, checksum = 0, 0
            for chunk in chunks(entry.path):
                size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
            found[entry.name] = [size, checksum]
    return found


def _tidy(root: Path) -> None:
    """Remove the entries beyond the limits, and what killed processes left."""
    used: list[tuple[float, int, str]] = []
    with os.scandir(root) as entries:
        for entry in entries:
            try:
                if not entry.name.startswith("."):
                    with os.scandir(entry.path) as files:
                        size = sum(file.stat().st_size for file in files)
                    used.append((os.stat(Path(entry.path) / _FACTS).st_mtime, size, entry.path))
                elif entry.stat().st_mtime < time.time() - _LEFT_OVER:
                    shutil.rmtree(entry.path, ignore_errors=True)
            except OSError:  # another process removes it, or it is no entry
                continue
    total = 0
    for count, (_, size, path) in enumerate(sorted(used, reverse=True), start=1):
        total += size
        if count > MOST_ENTRIES or total > MOST_BYTES:
            shutil.rmtree(path, ignore_errors=True)


# --- facts as JSON ---

# Of what a graph is made beside layers.
_CLASSES: Final[dict[str, Callable[..., Any]]] = {
    kind.__name__: kind for kind in (Graph, Call, Initializer, L1L2)
}


def _class(name: str) -> Callable[..., Any] | None:
    """Return the class of a name; None where a graph has none such."""
    if name == "Operation":  # not in the vocabulary: Keras has no such layer
        from ferjax.nets.layers import Operation

        return Operation
    return _CLASSES.get(name) or VOCABULARY.get(name)


def _text(facts: Facts, files: dict[str, list[int]]) -> bytes:
    """Return facts, and the entry's files, as JSON."""

    def fields(value: Any) -> dict[str, Any]:
        kind = type(value).__name__
        if _class(kind) is None:
            raise TypeError(f"expected a part of a graph, got {value!r}")
        values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"class": kind, **values}

    stored = {"graph": facts.graph, "labels": facts.labels, "metadata": facts.metadata}
    return json.dumps({**stored, "files": files}, default=fields).encode()


def _facts(stored: Mapping[str, Any]) -> Facts:
    """Return the facts in JSON of `_text`.

    Raises:
        LayerError, LookupError, TypeError, ValueError: it is something else.
    """

    def built(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(map(built, value))
        if not isinstance(value, dict):
            return value
        fields = {name: built(item) for name, item in value.items() if name != "class"}
        if (kind := _class(value["class"])) is None:
            raise LookupError(f"expected a part of a graph, got {value['class']!r}")
        return kind(**fields)

    return Facts(built(stored["graph"]), stored["labels"], stored["metadata"])


def _is_same(one: Facts, other: Facts) -> bool:
    return one == other and one.graph.input_range == other.graph.input_range
