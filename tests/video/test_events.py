"""Events: from when to when, what is too short, abstention, gaps, and going on from a state."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ferjax.video.events import Event, Events, find_events


def said(text: str, step: float = 0.1, track: int = 1) -> list[Any]:
    """Return frames of one face, a letter each: a label, "-" abstains, "." is not seen."""
    frames = []
    for i, letter in enumerate(text):
        label = None if letter == "-" else letter
        face = SimpleNamespace(track=track, label=label, confidence=0.5 + 0.01 * i)
        faces = [] if letter == "." else [face]
        frames.append(SimpleNamespace(time=i * step, faces=faces, live=(track,)))
    return frames


def spans(text: str, **options: float) -> list[tuple[str, float, float]]:
    return [
        (event.label, round(event.start, 6), round(event.end, 6))
        for event in find_events(said(text), **options)
    ]


def test_runs_of_one_label() -> None:
    assert spans("aaaaabbbbb") == [("a", 0.0, 0.5), ("b", 0.5, 1.0)]


def test_what_an_event_has() -> None:
    (event,) = find_events(said("aaaaa"))
    assert event == Event(
        track=1, label="a", start=0.0, end=0.5, confidence=pytest.approx(0.52), frames=5
    )
    assert event.duration == 0.5


def test_what_is_short_belongs_to_what_is_around_it() -> None:
    assert spans("aaaabaaaa") == [("a", 0.0, 0.9)]
    (event,) = find_events(said("aaaabaaaa"))
    assert event.frames == 8  # those that show it
    assert spans("aaaabaaaa", min_event=0) == [("a", 0.0, 0.4), ("b", 0.4, 0.5), ("a", 0.5, 0.9)]
    assert spans("aaaacbbbb") == [("a", 0.0, 0.5), ("b", 0.5, 0.9)]
    assert spans("cbbbb") == [("b", 0.1, 0.5)]


def test_this_and_that_is_no_event() -> None:
    assert spans("aaaa" + "bc" * 5 + "dddd") == [("a", 0.0, 0.4), ("d", 1.4, 1.8)]


def test_abstention_is_no_event() -> None:
    assert spans("aaaa----aaaa") == [("a", 0.0, 0.4), ("a", 0.8, 1.2)]
    assert spans("aaaa-aaaa") == [("a", 0.0, 0.9)]
    assert spans("------") == []


def test_a_short_gap_is_bridged() -> None:
    assert spans("aaaa..aaaa") == [("a", 0.0, 1.0)]
    assert spans("aaaa...") == [("a", 0.0, 0.4)]


def test_a_gap_before_another_expression_belongs_to_neither() -> None:
    assert spans("aaaa......bbbb") == [("a", 0.0, 0.4), ("b", 1.0, 1.4)]
    assert spans("aaaa......----") == [("a", 0.0, 0.4)]
    assert spans("aaaa...c..bbbb") == [("a", 0.0, 0.4), ("b", 1.0, 1.4)]
    assert spans("aaaa..c.bbbb") == [("a", 0.0, 0.4), ("b", 0.8, 1.2)]
    assert spans("aaaac.bbbb") == [("a", 0.0, 0.5), ("b", 0.6, 1.0)]
    assert spans("aaaa......" + "bc" * 5) == [("a", 0.0, 0.4)]


def test_a_track_that_is_over_ends_its_events() -> None:
    frames = said("aaaaaa")
    for frame in frames[4:]:
        frame.faces, frame.live = [], ()
    iterator = find_events(iter(frames))
    event = next(iterator)
    assert (event.start, event.end) == (0.0, 0.4)
    assert list(iterator) == []


def test_two_faces_at_once() -> None:
    frames = said("aaaaaa")
    for frame, other in zip(frames, said("bbbccc", track=2)):
        frame.faces += other.faces
        frame.live = (1, 2)
    events = list(find_events(frames))
    assert [(e.track, e.label, e.frames) for e in events] == [(1, "a", 6), (2, "b", 3), (2, "c", 3)]


def test_times_may_be_anything() -> None:
    frames = said("aabb")
    for frame, time in zip(frames, (3.0, 3.5, 10.0, 10.25)):
        frame.time = time
    events = [(event.label, event.start, event.end) for event in find_events(frames)]
    assert events == [("a", 3.0, 10.0), ("b", 10.0, 10.5)]


def test_it_goes_on_from_its_state() -> None:
    text = "aaaabbbbbb-aaa..aacbcbcbcbddddd"
    frames = said(text)
    expected = list(find_events(frames))
    for stop in range(len(frames)):
        events: Any = Events()
        done = []
        for i, frame in enumerate(frames):
            if i == stop:
                state = json.loads(json.dumps(events.state()))
                events = Events()
                events.restore(state)
            faces = [(face.track, face.label, face.confidence) for face in frame.faces]
            done += events.add(frame.time, faces, set(frame.live))
        assert done + events.finish() == expected


@pytest.mark.parametrize("value", [-1, float("nan"), "1"])
def test_a_bad_duration(value: Any) -> None:
    with pytest.raises(ValueError, match="expected seconds from 0 on for `min_event`, got"):
        Events(min_event=value)
