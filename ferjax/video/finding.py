"""Find and follow the faces of frame after frame.

Some frames are looked at as a whole, ahead, in threads; in those between only the places where
faces were in the frame before are, which takes a seventh of the time. Where frames come at 24 a
second or more and need not be given at once, only some of these are looked at: a face that moves
evenly lies, in the frames between them, on the line between its two places.

Dimension keys: H height, W width of a frame; N faces; h, w, C of the network's input.
"""

from __future__ import annotations

import time as clock
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ferjax import hardware
from ferjax.errors import VideoError
from ferjax.faces.cropping import LEVEL_FROM, crop
from ferjax.faces.deferring import Deferred
from ferjax.faces.detection import (
    Detection,
    confirmed,
    detect,
    followed,
    in_order,
    seen_last,
    spotted,
)
from ferjax.image_files import UInt8Array
from ferjax.preprocessing import Float32Array
from ferjax.video.interpolation import (
    MOST_BETWEEN,
    Known,
    is_alike,
    moves_evenly,
    needs_no_look,
    on_the_way,
)
from ferjax.video.motion import overlap
from ferjax.video.pictures import Frame
from ferjax.video.schedule import Schedule
from ferjax.video.settings import Settings
from ferjax.video.tracks import Tracker, look_of

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

_SAME: Final = 0.4  # the overlap from which on two boxes are of one face
_SURE: Final = 0.8  # the score of a face that need not be searched for anew


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


@dataclass(frozen=True)
class _Look:
    """What a look at a whole frame shows."""

    spots: list[Detection]  # what may be faces
    faces: list[Detection] | None  # all of them, where they are known
    is_close: bool


@dataclass
class _Waiting:
    """A frame that is not looked at, and what was expected of it."""

    frame: Frame
    expected: dict[int, Detection]  # the faces of the frame before, by their tracks
    live: Sequence[int]
    unseen: Sequence[Detection]


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
        self._known: Known | None = None  # of the last frame that was looked at
        self._may_wait = not low_latency and settings.detector is None
        self._looks_for_lost = self._may_wait and settings.detect_every is None

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the `state` of a frame."""
        self._tracker.restore(state["tracker"])
        self._schedule.restore(state["schedule"])
        self._taken = set(state["taken"])
        self._known = None if state["known"] is None else Known.restored(state["known"])

    def faces_of(
        self, frames: Iterable[Frame], *, snapshots: float | None = None
    ) -> Generator[Seen, None, None]:
        """Yield each frame with its faces.

        Args:
            frames: in their order.
            snapshots: seconds after which a frame gets a `state` again; None: none has one.
        """
        next_snapshot = clock.monotonic()
        source = Deferred(self._with_next(frames))
        waiting: list[_Waiting] = []
        for frame, whole_look, schedule, following in source:
            whole = whole_look is not None
            if (
                not whole
                and len(waiting) < MOST_BETWEEN
                and needs_no_look(frame, following, self._known)
            ):
                waiting.append(self._expected(frame))
                continue
            begin = clock.perf_counter()
            try:
                near = self._followed(frame) if waiting else None
                look = None if whole_look is None else whole_look.result()
            except Exception:  # which comes after the frames before
                for earlier in waiting:
                    yield self._take(self._tracked(earlier.frame, None))
                raise
            if near is not None and len(near) < len(waiting[-1].expected):
                # What is lost over several frames may be followed from each to the next.
                for earlier in waiting:
                    yield self._take(self._tracked(earlier.frame, None))
                waiting.clear()
                near = None
            before = self._known
            seen = self._tracked(frame, look, near)
            if before is not None:
                yield from [self._take(self._between(before, between)) for between in waiting]
            waiting.clear()
            self._take(seen)
            if snapshots is not None and clock.monotonic() >= next_snapshot:
                next_snapshot = clock.monotonic() + snapshots
                seen.state = {
                    "number": frame.number,
                    "tracker": self._tracker.state(),
                    "schedule": schedule,
                    "taken": sorted(self._taken),
                    "known": None if self._known is None else self._known.state(),
                }
            del frame, whole_look, look, following
            yield seen
            # With the network, and with what is made of the frame.
            self._schedule.spent(clock.perf_counter() - begin, whole=whole)
        source.end()

    def _with_next(
        self, frames: Iterable[Frame]
    ) -> Generator[tuple[Frame, Future[_Look] | None, list[Any], Frame | None]]:
        """Yield what `_looked` does, and the frame that follows, where that may be waited for."""
        if not self._may_wait:
            for frame, whole_look, schedule in self._looked(frames):
                yield frame, whole_look, schedule, None
            return
        source = Deferred(self._looked(frames))
        last: tuple[Frame, Future[_Look] | None, list[Any]] | None = None
        for item in source:
            if last is not None:
                yield *last, item[0]
            last = item
        if last is not None:
            yield *last, None
        source.end()

    def _expected(self, frame: Frame) -> _Waiting:
        """Return a frame that is not looked at, before the next one is."""
        tracker = self._tracker
        unseen = [track.placed(frame.time) for track in tracker.unseen]
        return _Waiting(frame, dict(tracker.moved_on(frame.time)), sorted(tracker.live), unseen)

    def _looked(
        self, frames: Iterable[Frame]
    ) -> Generator[tuple[Frame, Future[_Look] | None, list[Any]], None, None]:
        """Yield each frame, with what is found in it if it is looked at as a whole."""
        if self._low or self._settings.detector is not None:
            for frame in frames:
                future: Future[_Look] | None = None
                if self._schedule.is_due(frame):
                    future = _Later(self._whole, frame, self._schedule.is_close)
                yield frame, future, self._schedule.state()
            return
        waiting: deque[tuple[Frame, Future[_Look] | None, list[Any]]] = deque()
        threads = max(1, min(4, hardware.cores()))
        source = Deferred(frames)
        is_done = False
        with ThreadPoolExecutor(threads, "ferjax-video") as pool:
            try:
                for frame in source:
                    future = None
                    if self._schedule.is_due(frame):
                        future = pool.submit(self._whole, frame, self._schedule.is_close)
                    waiting.append((frame, future, self._schedule.state()))
                    del frame, future
                    while len(waiting) > 2 * threads:
                        yield waiting.popleft()
                while waiting:
                    yield waiting.popleft()
                is_done = True  # but whoever takes the last frame may not have asked what it shows
            finally:
                pool.shutdown(wait=True, cancel_futures=not is_done)
        source.end()

    def _whole(self, frame: Frame, is_close: bool) -> _Look:
        """Return what a look at a frame, or at its region, shows."""
        settings = self._settings
        left, top, part = self._part(frame.image)
        if settings.detector is not None:
            spots: list[Detection] = []
            faces: list[Detection] | None = detect(part, detector=settings.detector, **self._wanted)
        else:
            spots, faces = spotted(part, is_close=is_close, **self._wanted), None
            if is_close and not spots:
                faces = seen_last(part, **self._wanted)
        return _Look(
            [_moved(spot, left, top) for spot in spots],
            None if faces is None else [_moved(face, left, top) for face in faces],
            is_close,
        )

    @property
    def _wanted(self) -> dict[str, Any]:
        """What faces need to continue a track."""
        settings = self._settings
        return {"min_score": settings.keep_score, "min_size": settings.min_size}

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

    def _tracked(
        self, frame: Frame, look: _Look | None, near: list[Detection] | None = None
    ) -> Seen:
        """Return a frame with all its faces, of which `_take` takes those that are asked for.

        Args:
            frame: the next one.
            look: what a look at the whole of it shows, if any.
            near: what `_followed` gives of it, where that is known.
        """
        tracker, settings = self._tracker, self._settings
        if frame.cut:
            tracker.cut(frame.dissolved)
        gone: list[Detection] = []
        if look is None and settings.detector is not None:
            moved = tracker.moved_on(frame.time)
            gone = [face for _, face in moved if not _is_inside(face, frame.image)]
            moved = [(n, face) for n, face in moved if _is_inside(face, frame.image)]
            faces, numbers = [face for _, face in moved], [number for number, _ in moved]
            crops = [self._crop(frame.image, face) for face in faces]
        else:
            if near is None:
                near = [] if settings.detector is not None else self._followed(frame)
            known = len(tracker.moved_on(frame.time))
            if look is None and self._looks_for_lost and len(near) < known:
                look = self._whole(frame, True)
            faces = near if look is None else self._found(frame, look, near)
            faces = [face for face in faces if _is_inside(face, frame.image)]
            crops = [self._crop(frame.image, face) for face in faces]
            looks = [look_of(image) for image in crops]
            given = tracker.update(frame.time, faces, looks, begin=look is not None)
            kept = [i for i, number in enumerate(given) if number is not None]
            faces, crops = [faces[i] for i in kept], [crops[i] for i in kept]
            numbers = [number for number in given if number is not None]
            self._known = Known.of(
                frame.time,
                dict(zip(numbers, faces)),
                dict(zip(numbers, [looks[i] for i in kept])),
                self._known,
            )
        unseen = [*gone, *(track.placed(frame.time) for track in tracker.unseen)]
        return self._seen(frame, faces, numbers, crops, sorted(tracker.live), unseen)

    def _between(self, before: Known, waiting: _Waiting) -> Seen:
        """Return a frame that was not looked at, between two that were, with its faces.

        A face that does not move evenly is looked for in it after all.
        """
        after, frame, unseen = self._known, waiting.frame, list(waiting.unseen)
        assert after is not None
        part = (frame.time - before.time) / (after.time - before.time)
        faces: list[Detection] = []
        numbers: list[int] = []
        crops: list[Float32Array] = []
        for number, expected in waiting.expected.items():
            face, image = None, None
            if number in before.faces and number in after.faces:
                expected = on_the_way(before.faces[number], after.faces[number], part)
                is_even = moves_evenly(before, after, number)
                if is_even and _is_inside(expected, frame.image):
                    image = self._crop(frame.image, expected)
                    if is_alike(image, before.looks[number], after.looks[number]):
                        face = expected
            if face is None:
                face, image = self._followed_one(frame.image, expected), None
            if face is None or not _is_inside(face, frame.image):
                unseen.append(expected)
            elif all(overlap(face.box, other.box) < _SAME for other in faces):
                faces.append(face)
                numbers.append(number)
                crops.append(self._crop(frame.image, face) if image is None else image)
        return self._seen(frame, faces, numbers, crops, waiting.live, unseen)

    def _seen(
        self,
        frame: Frame,
        faces: list[Detection],
        numbers: list[int],
        crops: list[Float32Array],
        live: Sequence[int],
        unseen: Sequence[Detection],
    ) -> Seen:
        return Seen(
            number=frame.number,
            time=frame.time,
            cut=frame.cut,
            shape=(frame.image.shape[0], frame.image.shape[1]),
            image=frame.image if self._settings.keep_images else None,
            faces=faces,
            tracks=numbers,
            crops=crops,
            live=live,
            unseen=unseen,
        )

    def _take(self, seen: Seen) -> Seen:
        """Return a frame with those of its faces that are taken, in the order of their tracks."""
        order = self._taken_of(seen.faces, seen.tracks)
        self._taken = {seen.tracks[i] for i in order}
        seen.faces = [seen.faces[i] for i in order]
        seen.tracks = [seen.tracks[i] for i in order]
        seen.crops = [seen.crops[i] for i in order]
        return seen

    def _crop(self, image: UInt8Array, face: Detection) -> Float32Array:
        cut = crop(image, face)
        return self._classifier.preprocess(cut, resize=self._settings.resize)[0]

    def _followed(self, frame: Frame) -> list[Detection]:
        """Return the faces that are near where they were in the last frame that was looked at."""
        places = self._tracker.expected(frame.time, unseen=False)
        looked_for = [self._followed_one(frame.image, expected) for expected in places]
        faces = [face for face in looked_for if face is not None]
        faces.sort(key=lambda face: -face.score)
        kept: list[Detection] = []
        for face in faces:  # two tracks may have come to see one face
            if all(overlap(face.box, other.box) < _SAME for other in kept):
                kept.append(face)
        return kept

    def _found(self, frame: Frame, look: _Look, near: list[Detection]) -> list[Detection]:
        """Return the faces in a frame, given what a look at the whole of it shows, and what is near
        where faces were.

        Faces that are known are only followed, where the look shows them too.
        """
        if look.faces or self._settings.detector is not None:
            return look.faces or []
        kept = [face for face in near if _stays(face, look)]
        left, top, part = self._part(frame.image)
        spots = [
            _moved(spot, -left, -top)
            for spot in look.spots
            if all(overlap(spot.box, face.box) < _SAME for face in kept)
        ]
        new = [_moved(face, left, top) for face in confirmed(part, spots, **self._wanted)]
        kept += [face for face in new if all(overlap(face.box, k.box) < _SAME for k in kept)]
        if not kept and spots and look.is_close:
            last = seen_last(part, **self._wanted)
            kept = [_moved(face, left, top) for face in last]
        return in_order(kept, "reading")

    def _followed_one(self, image: UInt8Array, expected: Detection) -> Detection | None:
        """Return a face that is near where it is expected, or None."""
        left, top, part = self._part(image)
        face = followed(part, _moved(expected, -left, -top), min_score=self._settings.keep_score)
        if face is None or face.size < (self._settings.min_size or 0):
            return None
        return _moved(face, left, top)

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


def _stays(face: Detection, look: _Look) -> bool:
    """Whether a face that was followed is one for a look at the whole frame too, which shows it."""
    if all(overlap(face.box, spot.box) < _SAME for spot in look.spots):
        return not look.is_close  # from afar it may be too small
    return face.score >= _SURE and abs(face.roll) <= LEVEL_FROM


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
