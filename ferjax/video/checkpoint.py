"""The record by which an interrupted run over a film goes on to the same rows.

A hidden file beside the first of the run's outputs, replaced as a whole every few seconds: what the
run was asked for, which state the film's file had, how long the tables were after a frame, and all
that was known after it: tracks, smoothed probabilities, events that go on. A run that goes on cuts
its tables off there, decodes the film up to that frame without looking at it, and goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ferjax.errors import FerjaxError, WriteError, printable
from ferjax.faces.journal import state_of
from ferjax.faces.settings import check_resumed
from ferjax.files import hidden_beside, replacing

_FORMAT: Final = 4
_PARTS: Final = frozenset(
    ("format", "asked", "source", "state", "events", "counts", "offsets", "drawing", "time")
)


class Checkpoint:
    """The record of one run.

    Attributes:
        path: the file.
        saved: what is in it, or None where there is none.
    """

    def __init__(self, beside: str | os.PathLike[str]) -> None:
        """Read the record beside an output, if there is one."""
        self.path = hidden_beside(beside, ".resume")
        self.saved: dict[str, Any] | None = None
        with suppress(OSError, ValueError, RecursionError):
            value = json.loads(self.path.read_text(encoding="utf-8"))
            is_whole = isinstance(value, dict) and value.keys() >= _PARTS
            if is_whole and value["format"] == _FORMAT and _is_usable(value):
                self.saved = value

    def check(self, asked: Mapping[str, Any], source: str, run: str) -> dict[str, Any]:
        """Return what was saved, or raise where it is not of the same run.

        Args:
            asked: what is asked for now, by the names of the options.
            source: the film's path.
            run: what an error calls the run.

        Raises:
            FerjaxError: the run was asked for something else, or the film has changed since.
        """
        assert self.saved is not None
        was = self.saved["asked"]
        if was.get("given") != asked.get("given"):
            other = (was.get("given") or ["another film"])[0]
            raise FerjaxError(
                printable(f"{run}: the run was begun with {other}; give it again, or --force")
            )
        check_resumed(was, dict(asked), run)
        if self.saved.get("source") != state_of(source):
            raise FerjaxError(
                printable(f"{source}: was changed since the run was begun; --force begins anew")
            )
        return self.saved

    def save(self, asked: Mapping[str, Any], source: str, known: Mapping[str, Any]) -> None:
        """Replace the record.

        Raises:
            WriteError: it cannot be written.
        """
        value = {"format": _FORMAT, "asked": asked, "source": state_of(source), **known}
        try:
            text = json.dumps(value)
        except (TypeError, ValueError) as error:
            raise WriteError(f"{self.path}: cannot be written ({error})") from error
        with replacing(self.path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def remove(self) -> None:
        """Remove the record, if there is one."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def _is_usable(value: Mapping[str, Any]) -> bool:
    """Whether the parts of a record are of the right kinds."""
    offsets = value["offsets"]
    return (
        isinstance(value["asked"], dict)
        and isinstance(value["state"], dict)
        and isinstance(offsets, list)
        and len(offsets) == 2
        and all(part is None or (isinstance(part, int) and part >= 0) for part in offsets)
        and (value["drawing"] is None or _is_drawing(value["drawing"]))
    )


def _is_drawing(state: Any) -> bool:
    """Whether a part of a record is what `Webm.state` gives."""
    return (
        isinstance(state, dict)
        and isinstance(state.get("offset"), int)
        and isinstance(state.get("size"), list)
        and len(state["size"]) == 2
        and all(isinstance(side, int) and 0 < side < 1 << 16 for side in state["size"])
        and isinstance(state.get("sides"), list)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in state["sides"])
    )
