"""Signals that end a run early, noted for the loop to see."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import jax


class StopSignals:
    """Within `with`, note SIGTERM and SIGINT in `received`; another SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # On several hosts SIGTERM is JAX's: it has all of them stop after the same step.
        alone = jax.process_count() == 1
        if alone and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
