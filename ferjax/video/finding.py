"""Find and follow the faces of frame after frame.

Some frames are looked at as a whole, ahead, in threads; in those between only the places where
faces were in the frame before are, which takes a seventh of the time.

Dimension keys: H height, W width of a frame; N faces; h, w, C of the network's input.
"""

from __future__ import annotations

import math
import time as clock
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ferjax import hardware
from ferjax.errors import VideoError
from ferjax.faces.cropping import crop
from ferjax.faces.deferring import Deferred
from ferjax.faces.detection import Detection, detect, followed
from ferjax.image_files import UInt8Array
from ferjax.preprocessing import Float32Array
from ferjax.video.motion import overlap
from ferjax.video.pictures import Frame
from ferjax.video.settings import LOOKS, Settings
from ferjax.video.tracks import Tracker, look_of

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

_SAME: Final = 0.4  # the overlap from which on two boxes are of one face
_ROUNDING: Final = 5e-4  # seconds by which times in files may be rounded
_LONGEST: Final = 10  # frames between two looks at whole frames, to keep up
_SHARE: Final = 0.8  # of a frame's time, that may be spent on it


@dataclass(kw_only=True, eq=False)
class Seen:
    """A frame whose faces are known, and not yet their expressions."""

    number: int
    time: float
    cut: bool
    shape: tuple[int, int]
    image: UInt8Array | None  # where pictures are kept
    faces: Sequence[Detection]
    tracks: Sequence[int]
    crops: Sequence[Float32Array]
    live: Sequence[int]
    unseen: Sequence[Detection]
    state: dict[str, Any] | None = None  # what is known after this frame, now and then


class Schedule:
    """Which frames are looked at as a whole: the first, those after cuts, some of the others."""

    def __init__(self, every: int | None, *, keeps_up: bool = False) -> None:
        """Begin with the next frame.

        Args:
            every: each so many frames; None: five times a second.
            keeps_up: where `every` is None, as often as there is time for.
        """
        self._every, self._keeps_up = every, keeps_up and every is None
        self._last: float | None = None  # the time of the last such frame
        self._since = 0  # frames since then
        self._costs = [0.0, 0.0]  # seconds that a frame takes: followed, looked at as a whole
        self._interval = 1 / 30
        self._before: float | None = None

    def is_due(self, frame: Frame) -> bool:
        """Whether a frame is to be looked at as a whole."""
        if self._before is not None:
            self._interval += 0.1 * (min(1.0, frame.time - self._before) - self._interval)
        self._before = frame.time
        self._since += 1
        if self._last is None or frame.cut:
            due = True
        elif self._keeps_up:
            due = self._since >= self._affordable()
        elif self._every is not None:
            due = self._since >= self._every
        else:
            due = frame.time - self._last >= LOOKS - _ROUNDING
        if due:
            self._last, self._since = frame.time, 0
        return due

    def spent(self, seconds: float, *, whole: bool) -> None:
        """Take note of how long a frame took."""
        before = self._costs[whole]
        self._costs[whole] = before + (0.2 if before else 1.0) * (seconds - before)

    def _affordable(self) -> int:
        """Return every how many frames there is time for a look at the whole."""
        less, more = self._costs
        room = _SHARE * self._interval
        if more <= room:
            return 1
        if less >= room:
            return _LONGEST
        return min(_LONGEST, math.ceil((more - less) / (room - less) - 1e-9))

    def state(self) -> list[Any]:
        """Return what is known, as JSON has it."""
        return [self._last, self._since, self._before]

    def restore(self, state: Sequence[Any]) -> None:
        """Go on from what `state` gave."""
        self._last, self._since, self._before = state


class Finder:
    """Finds faces and gives them the numbers of their tracks."""

    def __init__(
        self, classifier: EmotionClassifier, settings: Settings, *, low_latency: bool, name: str
    ) -> None:
        self._classifier, self._settings, self._name = classifier, settings, name
        self._low = low_latency
        self._tracker = Tracker(max_gap=settings.max_gap, min_score=settings.min_score)
        # A look at somebody's own box by YuNet would change what the box is.
        every = settings.detect_every or (None if settings.detector is None else 1)
        self._schedule = Schedule(every, keeps_up=low_latency)
        self._taken: set[int] = set()  # the tracks of the last frame

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the `state` of a frame."""
        self._tracker.restore(state["tracker"])
        self._schedule.restore(state["schedule"])
        self._taken = set(state["taken"])

    def faces_of(
        self, frames: Iterable[Frame], *, snapshots: float | None = None
    ) -> Generator[Seen, None, None]:
        """Yield each frame with its faces.

        Args:
            frames: in their order.
            snapshots: seconds after which a frame gets a `state` again; None: none has one.
        """
        next_snapshot = clock.monotonic()
        for frame, whole_look, schedule in self._looked(frames):
            begin = clock.perf_counter()
            seen = self._tracked(frame, None if whole_look is None else whole_look.result())
            whole = whole_look is not None
            if snapshots is not None and clock.monotonic() >= next_snapshot:
                next_snapshot = clock.monotonic() + snapshots
                seen.state = {
                    "number": frame.number,
                    "tracker": self._tracker.state(),
                    "schedule": schedule,
                    "taken": sorted(self._taken),
                }
            del frame, whole_look
            yield seen
            # With the network, and with what is made of the frame.
            self._schedule.spent(clock.perf_counter() - begin, whole=whole)

    def _looked(
        self, frames: Iterable[Frame]
    ) -> Generator[tuple[Frame, Future[list[Detection]] | None, list[Any]], None, None]:
        """Yield each frame, with what is found in it if it is looked at as a whole."""
        if self._low or self._settings.detector is not None:
            for frame in frames:
                future: Future[list[Detection]] | None = None
                if self._schedule.is_due(frame):
                    future = _Later(self._whole, frame)
                yield frame, future, self._schedule.state()
            return
        waiting: deque[tuple[Frame, Future[list[Detection]] | None, list[Any]]] = deque()
        threads = max(1, min(4, hardware.cores()))
        source = Deferred(frames)
        with ThreadPoolExecutor(threads, "ferjax-video") as pool:
            try:
                for frame in source:
                    due = self._schedule.is_due(frame)
                    future = pool.submit(self._whole, frame) if due else None
                    waiting.append((frame, future, self._schedule.state()))
                    del frame, future
                    while len(waiting) > 2 * threads:
                        yield waiting.popleft()
                while waiting:
                    yield waiting.popleft()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        source.end()

    def _whole(self, frame: Frame) -> list[Detection]:
        """Return the faces in a frame, or in its region."""
        settings = self._settings
        left, top, part = self._part(frame.image)
        faces = detect(
            part,
            detector=settings.detector,
            min_score=settings.keep_score,
            min_size=settings.min_size,
        )
        return [_moved(face, left, top) for face in faces]

    def _part(self, image: UInt8Array) -> tuple[int, int, UInt8Array]:
        """Return the left and upper edge of the region, and what is in it."""
        if self._settings.region is None:
            return 0, 0, image
        height, width = image.shape[:2]
        x, y, across, down = self._settings.region
        left, top = round(x), round(y)
        part = image[top : round(y + down), left : round(x + across)]
        if not part.size:
            raise VideoError(
                f"{self._name}: expected a region in the picture of {width} x {height} pixels, got "
                f"{x:g},{y:g},{across:g},{down:g}"
            )
        return left, top, part

    def _tracked(self, frame: Frame, detections: list[Detection] | None) -> Seen:
        """Return a frame with its faces, given those of the whole of it, if it was looked at."""
        tracker, settings = self._tracker, self._settings
        if frame.cut:
            tracker.cut(frame.dissolved)
        if detections is None and settings.detector is not None:
            moved = tracker.moved_on(frame.time)
            faces, numbers = [face for _, face in moved], [number for number, _ in moved]
            crops = [self._crop(frame.image, face) for face in faces]
        else:
            faces = self._followed(frame) if detections is None else detections
            faces = [face for face in faces if _is_inside(face, frame.image)]
            crops = [self._crop(frame.image, face) for face in faces]
            looks = [look_of(image) for image in crops]
            given = tracker.update(frame.time, faces, looks, begin=detections is not None)
            kept = [i for i, number in enumerate(given) if number is not None]
            faces, crops = [faces[i] for i in kept], [crops[i] for i in kept]
            numbers = [number for number in given if number is not None]
        order = self._taken_of(faces, numbers)
        self._taken = {numbers[i] for i in order}
        return Seen(
            number=frame.number,
            time=frame.time,
            cut=frame.cut,
            shape=(frame.image.shape[0], frame.image.shape[1]),
            image=frame.image if settings.keep_images else None,
            faces=[faces[i] for i in order],
            tracks=[numbers[i] for i in order],
            crops=[crops[i] for i in order],
            live=sorted(tracker.live),
            unseen=[track.placed(frame.time) for track in tracker.unseen],
        )

    def _crop(self, image: UInt8Array, face: Detection) -> Float32Array:
        cut = crop(image, face)
        return self._classifier.preprocess(cut, resize=self._settings.resize)[0]

    def _followed(self, frame: Frame) -> list[Detection]:
        """Return the faces that are near where they were in the frame before."""
        left, top, part = self._part(frame.image)
        faces: list[Detection] = []
        for expected in self._tracker.expected(frame.time, unseen=False):
            face = followed(
                part, _moved(expected, -left, -top), min_score=self._settings.keep_score
            )
            if face is not None and not (face.size < (self._settings.min_size or 0)):
                faces.append(_moved(face, left, top))
        faces.sort(key=lambda face: -face.score)
        kept: list[Detection] = []
        for face in faces:  # two tracks may have come to see one face
            if all(overlap(face.box, other.box) < _SAME for other in kept):
                kept.append(face)
        return kept

    def _taken_of(self, faces: Sequence[Detection], numbers: Sequence[int]) -> list[int]:
        """Return which faces of a frame are taken, in the order of their tracks."""
        order = sorted(range(len(faces)), key=lambda i: numbers[i])
        most = self._settings.max_faces
        if most is not None and len(order) > most:
            order.sort(key=lambda i: (numbers[i] not in self._taken, -faces[i].size))
            order = sorted(order[:most], key=lambda i: numbers[i])
        return order


class _Later(Future[Any]):
    """A call that is made when its result is asked for."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        super().__init__()
        self._call = (call, arguments)

    def result(self, timeout: float | None = None) -> Any:
        call, arguments = self._call
        return call(*arguments)


def _moved(face: Detection, x: float, y: float) -> Detection:
    """Return a face of a part of a picture where the picture has it."""
    if not (x or y):
        return face
    left, top, width, height = face.box
    marks = face.landmarks
    if marks is not None:
        marks = marks + np.array([x, y], np.float32)
    return replace(face, box=(left + x, top + y, width, height), landmarks=marks)


def _is_inside(face: Detection, image: UInt8Array) -> bool:
    """Whether a face's centre lies in the picture."""
    x, y = face.centre
    return 0 <= x < image.shape[1] and 0 <= y < image.shape[0]
