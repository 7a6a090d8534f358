"""Read ahead in a thread: a film is decoded while the frames before are looked at."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from typing import Any, Final, TypeVar

from ferjax.errors import VideoError

T = TypeVar("T")

MOST_BYTES: Final = 200_000_000  # of frames that wait
MOST_FRAMES: Final = 32
_PATIENCE: Final = 0.2  # seconds between two looks at whether anybody still wants frames


class _End:
    """What a source ends with: nothing, or the error that it raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Queue:
    """Items that wait between two threads, of a size in bytes each."""

    def __init__(self, newest: bool) -> None:
        self._newest = newest
        self._items: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self.is_closed = False
        self.dropped = 0

    def put(self, item: Any, size: int) -> None:
        """Add an item, and wait until there is room; of a live source the older give way."""
        with self._changed:
            while self._newest and self._items and not isinstance(item, _End):
                self._bytes -= self._items.popleft()[1]
                self.dropped += 1
            while not self.is_closed and self._items and not isinstance(item, _End):
                if len(self._items) < MOST_FRAMES and self._bytes + size <= MOST_BYTES:
                    break
                self._changed.wait(_PATIENCE)
            self._items.append((item, size))
            self._bytes += size
            if len(self._items) == 1:
                self._changed.notify_all()

    def get(self, timeout: float | None) -> Any:
        """Return the next item, or None where none comes in so many seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._items), timeout):
                return None
            item, size = self._items.popleft()
            self._bytes -= size
            # Threads that take turns at each frame would cost more.
            if len(self._items) <= MOST_FRAMES // 2:
                self._changed.notify_all()
            return item

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()


class Ahead(Iterable[T]):
    """An iterable that is read ahead in a thread, with errors in their place.

    Attributes:
        dropped: how many items of a live source gave way to newer ones.
    """

    def __init__(
        self,
        items: Iterable[T],
        *,
        newest: bool = False,
        timeout: float | None = None,
        name: str = "the source",
    ) -> None:
        """Begin to read; at most 32 frames wait, or 200 MB of them.

        Args:
            items: frames, whose `image` counts in memory.
            newest: only the newest waits, as of a camera.
            timeout: seconds after which a source that gives nothing is given up; None: never.
            name: what an error calls the source.
        """
        self._queue = _Queue(newest)
        self._timeout = None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
        self._name = name
        self._thread = threading.Thread(
            target=_read, args=(items, self._queue), name="ferjax-video", daemon=True
        )
        self._thread.start()

    @property
    def dropped(self) -> int:
        return self._queue.dropped

    def __iter__(self) -> Generator[T, None, None]:
        """Yield the items, and raise what the source raises once all before it were given.

        Raises:
            VideoError: the source gives nothing for too long.
        """
        try:
            while True:
                item = self._queue.get(self._timeout)
                if item is None:
                    raise VideoError(
                        f"{self._name}: gave nothing for {self._timeout:g} s, and is given up; a "
                        "longer timeout waits longer"
                    )
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """End the thread; one that waits for a camera ends when that answers."""
        self._queue.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)


def _read(items: Iterable[Any], queue: _Queue) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            queue.put(item, getattr(getattr(item, "image", None), "nbytes", 0))
            if queue.is_closed:
                return
            del item  # or its pixels stay until the next
    except BaseException as raised:  # for the thread that asks
        error = raised
    finally:
        if isinstance(items, Generator):  # what it reads from is closed in the same thread
            items.close()
        queue.put(_End(error), 0)
