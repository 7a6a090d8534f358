"""Which pictures end the process that looks at them, found over several attempts at a part.

A library may crash at a picture, or take more memory than the machine has: no exception tells of
it. So whoever begins a part leaves a note in the run's folder, and removes it in the end. Who finds
one comes after a worker that died, and looks at one picture at a time, whose number is in the note
meanwhile. A picture at which two have died is left out; one death may be chance, as where a machine
is taken away. A note of an earlier call, whose workers were ended or end yet, tells nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Final

from ferjax.errors import WriteError
from ferjax.scale.folder import Folder

LEFT_OUT: Final = "left out, for the process that looks at it dies"
_MOST_DEATHS: Final = 2  # at a picture


class Attempt:
    """An attempt at a part, as a context: the note is removed in the end, whatever is raised.

    Attributes:
        is_first: whether nobody has died at the part.
    """

    def __init__(self, folder: Folder, part: str, count: int, token: str = "") -> None:
        """Look for a note.

        Args:
            folder: of the run.
            part: its name.
            count: how many pictures or films it has.
            token: of the call that the worker works for.
        """
        self._folder, self._part, self._token = folder, part, token
        self._deaths: Counter[int] = Counter()
        note = folder.note(part)
        self.is_first = note is None
        if note is not None:
            self._read(note)
        self._only = 0 if count == 1 else None

    def _read(self, note: bytes) -> None:
        try:
            content = json.loads(note)
            if content["call"] != self._token:
                self.is_first = True
                return
            self._deaths.update({int(k): int(v) for k, v in content["deaths"].items()})
            if content["at"] is not None:
                self._deaths[int(content["at"])] += 1
        except (  # died while it was written
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ):
            self._deaths.clear()

    def __enter__(self) -> Attempt:
        self._leave(self._only)
        return self

    def begin(self, index: int) -> bool:
        """Note that a picture's turn has come; return False where it is to be left out."""
        if self._deaths[index] >= _MOST_DEATHS:
            return False
        if not self.is_first:
            self._leave(index)
        return True

    def _leave(self, at: int | None) -> None:
        note = {"call": self._token, "at": at, "deaths": dict(self._deaths)}
        with suppress(WriteError):  # some stores take one a second; a full disk fails the rows too
            self._folder.leave_note(self._part, json.dumps(note).encode())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.remove_note(self._part)
