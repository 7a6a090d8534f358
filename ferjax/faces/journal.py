"""The record of a run over photographs, by which an interrupted one goes on.

Lines of JSON, each after its CRC-32: what the run was asked for, then each photograph's state and
what came of it, and where the run ends, that it did. A line that a killed process left unfinished
is cut off; one that was changed counts as not there.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from ferjax.errors import WriteError
from ferjax.files import lock

_FORMAT: Final = 1
_ENDED: Final = {"ended": True}

State = list[int]
"""A file's size and when it was changed, in nanoseconds."""


def state_of(path: str | os.PathLike[str]) -> State | None:
    """Return what changes where a file is changed, or None where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


class Journal:
    """The record of one run, in a file.

    Attributes:
        path: the file.
        ended: whether the run came to its end.
        asked: what the run was asked for, or None where no run is recorded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the record at a path, if there is one."""
        self.path = Path(path)
        self.ended = False
        self.asked: dict[str, Any] | None = None
        self._where: dict[str, tuple[State, int]] = {}  # by photograph, its state and its line
        self._size = 0
        self._file: IO[bytes] | None = None
        try:
            with os.fdopen(_opened(self.path, os.O_RDONLY), "rb") as file:
                self._scan(file)
        except FileNotFoundError:
            pass
        except WriteError:
            raise
        except OSError as error:
            raise WriteError(f"{path}: cannot be read ({error.strerror})") from error

    def _scan(self, file: IO[bytes]) -> None:
        for line in file:
            if not line.endswith(b"\n"):  # a process was killed while it wrote
                break
            begin, self._size = self._size, self._size + len(line)
            value = _parsed(line)
            if begin == 0:
                if value.get("format") != _FORMAT or not isinstance(value.get("asked"), dict):
                    return
                self.asked = value["asked"]
                continue
            self.ended = value == _ENDED
            key, state = value.get("photograph"), value.get("state")
            if isinstance(key, str) and isinstance(state, list) and "result" in value:
                self._where[key] = (state, begin)

    @property
    def unfinished(self) -> bool:
        """Whether a run is recorded that did something and did not come to its end."""
        return self.asked is not None and not self.ended and bool(self._where)

    def is_current(self, key: str, state: State | None) -> bool:
        """Whether something is recorded of a photograph in this state."""
        return state is not None and key in self._where and self._where[key][0] == state

    def result(self, key: str) -> Any:
        """Return what is recorded of a photograph, or None."""
        if key not in self._where:
            return None
        try:
            with open(self.path, "rb") as file:
                file.seek(self._where[key][1])
                return _parsed(file.readline()).get("result")
        except OSError:
            return None

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Begin a record anew.

        Raises:
            WriteError: the file cannot be written, here and in the other methods, or another
                process is writing it.
        """
        self._where, self.ended = {}, False
        self._open(0)
        self._write({"format": _FORMAT, "asked": dict(asked)})

    def go_on(self) -> None:
        """Make ready to add to the record."""
        self._open(self._size)

    def add(self, key: str, state: State, result: Any) -> None:
        """Record what came of a photograph; the operating system has it when this returns."""
        self._write({"photograph": key, "state": state, "result": result})

    def end(self, *, keep: bool) -> None:
        """Record that the run came to its end, or remove the record."""
        if keep:
            self._write(_ENDED)
        self.close()
        if not keep:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk's, which has been said
                self._file.close()
            self._file = None

    def _open(self, size: int) -> None:
        """Open the file for this process alone, and cut it off after so many bytes."""
        try:
            handle = _opened(self.path, os.O_RDWR | os.O_CREAT)
            self._file = os.fdopen(handle, "r+b")
            if not lock(handle):
                where = self.path.parent
                raise WriteError(f"{where}: another process is writing the same there")
            self._file.truncate(size)
            self._file.seek(size)
        except WriteError:
            raise
        except OSError as error:
            raise self._error(error) from error

    def _write(self, value: Any) -> None:
        assert self._file is not None
        try:
            text = json.dumps(value).encode()
            self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
            self._file.flush()
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> WriteError:
        return WriteError(f"{self.path}: cannot be written ({error.strerror or error})")


def _opened(path: Path, flags: int) -> int:
    """Open a regular file: a link that somebody put there would be followed to any file, and a pipe
    would be waited for."""
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)  # not every system has each
    if path.is_symlink():  # said better than by the error of opening it
        raise WriteError(f"{path}: is a link, not a regular file; remove it")
    handle = os.open(path, flags, 0o644)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise WriteError(f"{path}: is not a regular file; remove it")
    return handle


def _parsed(line: bytes) -> dict[str, Any]:
    """Return a line's value, or {} where it is not as it was written."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return {}
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
