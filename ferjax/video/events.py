"""Events: times in which a face shows one expression.

An expression counts from where it was shown for `min_event` seconds; what is shorter belongs to the
event around it, so that a blink is no event and does not make two of one. Where the classifier
abstains for so long, or says now this and now that, there is no event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ferjax.faces.detection import is_number

MIN_EVENT: Final = 0.25  # seconds


@dataclass(frozen=True, kw_only=True)
class Event:
    """A time in which a face shows one expression.

    Attributes:
        track: the face's track.
        label: the expression.
        start: seconds; when the first frame is shown that shows it.
        end: seconds; when the next frame is shown that does not, or that the face is not in. Gaps
            after which it shows the same expression belong to the event.
        confidence: the mean of its smoothed probability over the frames that show it.
        frames: how many these are.
    """

    track: int
    label: str
    start: float
    end: float
    confidence: float
    frames: int

    @property
    def duration(self) -> float:
        """In seconds."""
        return self.end - self.start


@dataclass
class _Run:
    """Frames in a row with one label, or with none."""

    label: str | None
    start: float
    after: float  # when what was shown before was over: at the start, or where a gap began
    total: float = 0.0
    frames: int = 0

    def add(self, confidence: float) -> None:
        self.total, self.frames = self.total + confidence, self.frames + 1


@dataclass
class _Face:
    """What a track has shown so far."""

    run: _Run  # which counts
    change: _Run | None  # which may come to count, once it lasts
    left: float | None  # since when it shows something else than what counts
    over: float  # when what counts was over, if `left` is not None
    end: float  # of what it has shown so far; that of the frame before counts up to the next
    visible: bool = True
    events: list[Event] = field(default_factory=list)


class Events:
    """Finds events, frame by frame."""

    def __init__(self, *, min_event: float = MIN_EVENT) -> None:
        """Begin without tracks.

        Args:
            min_event: seconds that an expression needs to last.

        Raises:
            ValueError: it is negative.
        """
        if not (is_number(min_event) and min_event >= 0):
            raise ValueError(f"expected seconds from 0 on for `min_event`, got {min_event!r}")
        self._least = float(min_event)
        self._faces: dict[int, _Face] = {}
        self._time: float | None = None
        self._step = 0.0  # between the last two frames

    def add(
        self, time: float, faces: Sequence[tuple[int, str | None, float]], live: set[int]
    ) -> list[Event]:
        """Take a frame, and return the events that are over with it, in the order of their starts.

        Args:
            time: seconds; later than that of the frame before.
            faces: track, label and confidence of each face in it.
            live: the tracks that go on, seen or not.
        """
        if self._time is not None:
            self._step = time - self._time
        self._time = time
        for state in self._faces.values():
            if state.visible:
                state.end = time
        for track, label, confidence in faces:
            self._see(track, time, label, confidence)
        seen = {track for track, _, _ in faces}
        for track, state in self._faces.items():
            state.visible = track in seen
        over = []
        for track in [track for track in self._faces if track not in live]:
            over += self._over(track)
        for state in self._faces.values():
            over += state.events
            state.events = []
        return sorted(over, key=lambda event: (event.start, event.track))

    def _see(self, track: int, time: float, label: str | None, confidence: float) -> None:
        state = self._faces.get(track)
        if state is None:
            state = self._faces[track] = _Face(_Run(label, time, time), None, None, time, time)
        if label == state.run.label:
            state.change = state.left = None
            state.run.add(confidence)
            return
        before = time if state.visible else state.end
        if state.left is None:
            state.left, state.over = time, before
        if state.change is None or state.change.label != label:
            state.change = _Run(label, time, before)
        state.change.add(confidence)
        self._settle(track, state, time)

    def _settle(self, track: int, state: _Face, end: float) -> None:
        """Let a change count that has lasted long enough."""
        change, left = state.change, state.left
        if change is not None and self._lasts(end - change.start):
            has_gap = left is not None and state.over < left  # what counted was over before it
            end_of_run = state.over if has_gap else change.after
            state.events += self._made(track, state.run, end_of_run)
            state.run, state.change, state.left = change, None, None
        elif left is not None and self._lasts((end - left) / 2):  # none of several lasts
            state.events += self._made(track, state.run, state.over)
            state.run, state.left = _Run(None, left, left), None

    def _lasts(self, seconds: float) -> bool:
        return seconds >= self._least - 1e-9

    def _made(self, track: int, run: _Run, end: float) -> list[Event]:
        if run.label is None or not run.frames or not self._lasts(end - run.start):
            return []
        mean = run.total / run.frames
        return [
            Event(
                track=track,
                label=run.label,
                start=run.start,
                end=end,
                confidence=mean,
                frames=run.frames,
            )
        ]

    def _over(self, track: int) -> list[Event]:
        """Return the events of a track that is over."""
        state = self._faces.pop(track)
        end = state.end + (self._step if state.visible else 0.0)
        self._settle(track, state, end)
        return [*state.events, *self._made(track, state.run, end)]

    def finish(self) -> list[Event]:
        """Return the events that go on to the film's end, and forget all."""
        over = [event for track in list(self._faces) for event in self._over(track)]
        return sorted(over, key=lambda event: (event.start, event.track))

    def state(self) -> dict[str, Any]:
        """Return all that is known, as JSON has it."""

        def listed(run: _Run | None) -> list[Any] | None:
            return None if run is None else [run.label, run.start, run.after, run.total, run.frames]

        return {
            "time": self._time,
            "step": self._step,
            "faces": [
                [
                    *(track, listed(face.run), listed(face.change)),
                    *(face.left, face.over, face.end, face.visible),
                ]
                for track, face in self._faces.items()
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._time, self._step = state["time"], state["step"]
        self._faces = {
            track: _Face(_Run(*run), None if change is None else _Run(*change), *rest)
            for track, run, change, *rest in state["faces"]
        }


def find_events(frames: Iterable[Any], *, min_event: float = MIN_EVENT) -> Iterator[Event]:
    """Yield the events in frames that `EmotionClassifier.analyze_video` gave, as they are over.

    Args:
        frames: in their order; each may be forgotten once it was taken.
        min_event: seconds that an expression needs to last; what is shorter belongs to the event
            around it.
    """
    events = Events(min_event=min_event)
    for frame in frames:
        faces = [(face.track, face.label, face.confidence) for face in frame.faces]
        yield from events.add(frame.time, faces, set(frame.live))
    yield from events.finish()
