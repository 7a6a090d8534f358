"""Tracks: simulated faces that move, cross, leave, come back and are cut off."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ferjax.faces.detection import Detection
from ferjax.video.motion import Motion, apart, overlap
from ferjax.video.tracks import Tracker, assigned, look_of

SIDE = 100.0
Path = Callable[[float], tuple[float, float] | None]


def look(person: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Return what a person looks like, with a little noise."""
    face = np.random.default_rng(person).normal(size=(48, 48, 1))
    return look_of(face if rng is None else face + 0.3 * rng.normal(size=face.shape))


def face(x: float, y: float, score: float = 0.9) -> Detection:
    return Detection(box=(x - SIDE / 2, y - SIDE / 2, SIDE, SIDE), score=score)


def followed(
    paths: list[Path], times: np.ndarray, *, tracker: Tracker | None = None, noise: float = 2.0
) -> list[list[int | None]]:
    """Return the number of each person in each frame, None where a person is not in it."""
    tracker = tracker or Tracker()
    rng = np.random.default_rng(0)
    rows = []
    for time in times:
        seen = [(p, path(time)) for p, path in enumerate(paths)]
        people = [(p, at) for p, at in seen if at is not None]
        order = rng.permutation(len(people))  # detectors give faces in any order
        faces = [face(*(np.array(people[i][1]) + noise * rng.normal(size=2))) for i in order]
        looks = [look(people[i][0], rng) for i in order]
        numbers = tracker.update(float(time), faces, looks, begin=True)
        row: list[int | None] = [None] * len(paths)
        for i, number in zip(order, numbers):
            row[people[i][0]] = number
        rows.append(row)
    return rows


def test_faces_keep_their_numbers_while_they_move() -> None:
    paths: list[Path] = [
        lambda t: (200 + 150 * math.sin(2 * t), 200),
        lambda t: (700, 200 + 100 * math.cos(3 * t)),
    ]
    rows = followed(paths, np.arange(0, 5, 1 / 30))
    assert {tuple(row) for row in rows} == {(1, 2)} or {tuple(row) for row in rows} == {(2, 1)}


@pytest.mark.parametrize("rate", [5, 12, 30, 60])
def test_two_faces_cross(rate: int) -> None:
    def behind(t: float) -> tuple[float, float] | None:
        x = 900 - 200 * t
        return None if abs(x - (100 + 200 * t)) < 60 else (x, 205)

    rows = followed([lambda t: (100 + 200 * t, 200), behind], np.arange(0, 4, 1 / rate))
    first, second = ({row[p] for row in rows} - {None} for p in range(2))
    assert len(first) == len(second) == 1
    assert first != second


def test_two_faces_meet_and_turn_back() -> None:
    rows = followed(
        [lambda t: (500 - 30 - 80 * abs(2 - t), 200), lambda t: (500 + 30 + 80 * abs(2 - t), 200)],
        np.arange(0, 4, 1 / 30),
    )
    assert len({tuple(row) for row in rows}) == 1


def test_variable_rates_and_times() -> None:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.01, 0.25, 60))
    rows = followed([lambda t: (100 + 120 * t, 200), lambda t: (100 + 120 * t, 330)], times)
    assert len({tuple(row) for row in rows}) == 1


def hidden(start: float, stop: float) -> Path:
    return lambda t: None if start <= t < stop else (200 + 50 * t, 200)


def test_a_short_gap_is_bridged_and_a_long_one_ends_a_track() -> None:
    times = np.arange(0, 6, 1 / 30)
    assert {row[0] for row in followed([hidden(2, 3.9)], times)} == {1, None}
    assert {row[0] for row in followed([hidden(2, 4.2)], times)} == {1, None, 2}
    patient = Tracker(max_gap=3.0)
    assert {row[0] for row in followed([hidden(2, 4.9)], times, tracker=patient)} == {1, None}


def test_numbers_are_never_given_twice() -> None:
    paths = [hidden(k + 0.2, k + 2.8) for k in range(0, 18, 3)]

    def path(t: float) -> tuple[float, float] | None:
        return None if any(p(t) is None for p in paths) else (200, 200)

    numbers = [row[0] for row in followed([path], np.arange(0, 18, 1 / 30))]
    given = [n for n, before in zip(numbers, [None, *numbers]) if n is not None and n != before]
    assert given == sorted(set(given)) == list(range(1, len(given) + 1))
    assert len(given) > 4


def test_frames_that_are_seconds_apart_leave_a_track_its_number() -> None:
    rows = followed([lambda t: (200 + 5 * t, 200)], np.arange(0, 60, 3.0))
    assert {row[0] for row in rows} == {1}


def test_someone_else_elsewhere_does_not_take_over_a_track_that_is_not_seen() -> None:
    tracker = Tracker()
    for i in range(30):
        tracker.update(i / 30, [face(200, 200)], [look(0)], begin=True)
    for i in range(30, 40):
        tracker.update(i / 30, [], [], begin=True)
    assert tracker.update(40 / 30, [face(320, 200)], [look(1)], begin=True) == [2]
    assert tracker.update(41 / 30, [face(205, 200), face(320, 200)], [look(0), look(1)], begin=True)
    assert tracker.live == {1, 2}


def test_a_face_of_another_size_is_another() -> None:
    tracker = Tracker()
    tracker.update(0.0, [face(200, 200)], [look(0)], begin=True)
    large = Detection(box=(75, 75, 250, 250), score=0.9)
    assert tracker.update(0.1, [large], [look(0)], begin=True) == [2]


def test_an_unsure_face_continues_a_track_and_begins_none() -> None:
    tracker = Tracker()
    assert tracker.update(0.0, [face(200, 200, 0.5)], [look(0)], begin=True) == [None]
    assert tracker.update(0.1, [face(200, 200)], [look(0)], begin=True) == [1]
    assert tracker.update(0.2, [face(203, 200, 0.5)], [look(0)], begin=True) == [1]
    assert tracker.update(0.3, [], [], begin=True) == []
    assert [track.number for track in tracker.unseen] == [1]
    assert tracker.update(0.4, [face(203, 200, 0.5)], [look(0)], begin=True) == [None]


def test_a_frame_that_is_not_looked_at_whole_begins_no_track() -> None:
    tracker = Tracker()
    tracker.update(0.0, [face(200, 200)], [look(0)], begin=True)
    faces, looks = [face(202, 200), face(600, 200)], [look(0), look(1)]
    assert tracker.update(0.1, faces, looks, begin=False) == [1, None]


def test_a_cut_ends_all_tracks() -> None:
    tracker = Tracker()
    tracker.update(0.0, [face(200, 200)], [look(0)], begin=True)
    tracker.cut()
    assert tracker.live == set()
    assert tracker.update(0.1, [face(200, 200)], [look(0)], begin=True) == [2]


def test_a_dissolve_ends_the_tracks_that_began_before_its_middle() -> None:
    tracker = Tracker()
    tracker.update(0.0, [face(200, 200)], [look(0)], begin=True)
    for time in (0.5, 0.6):
        tracker.update(time, [face(200, 200), face(600, 200)], [look(0), look(1)], begin=True)
    tracker.cut(0.4)
    assert tracker.live == {2}
    faces, looks = [face(200, 200), face(600, 200)], [look(0), look(1)]
    assert tracker.update(0.7, faces, looks, begin=True) == [3, 2]


def test_where_faces_are_expected() -> None:
    tracker = Tracker()
    for i in range(30):
        tracker.update(i / 30, [face(200 + 10 * i, 200)], [look(0)], begin=True)
    (expected,) = tracker.expected(31 / 30)  # two frames after the last
    assert expected.centre == pytest.approx((510, 200), abs=3)
    tracker.update(1.0, [], [], begin=True)
    assert tracker.expected(31 / 30, unseen=False) == []
    (unseen,) = tracker.expected(31 / 30)
    assert unseen.centre == pytest.approx((510, 200), abs=3)


def test_it_goes_on_from_its_state() -> None:
    paths: list[Path] = [
        hidden(1, 1.5),
        lambda t: (700 - 60 * t, 220) if t < 2.5 else None,
        lambda t: (400, 600) if t > 1 else None,
    ]
    times = np.arange(0, 4, 1 / 10)
    expected = followed(paths, times, noise=0)
    for stop in (1, 12, 27):
        tracker = Tracker()
        done = followed(paths, times[:stop], tracker=tracker, noise=0)
        again = Tracker()
        again.restore(json.loads(json.dumps(tracker.state())))
        assert again.state() == tracker.state()
        done += followed(paths, times[stop:], tracker=again, noise=0)
        assert done == expected


# --- motion --------------------------------------------------------------------------------------


def test_steps_of_any_length_lead_to_the_same_place() -> None:
    motion = Motion.of((0, 0, 50, 100)).after(0.1).seen((10, 0, 50, 100))
    once = motion.after(0.4)
    twice = motion.after(0.2).after(0.2)
    assert twice.centre == pytest.approx(once.centre)
    assert twice.velocity == pytest.approx(once.velocity)


def test_what_is_known_of_a_place_by_hand() -> None:
    motion = Motion.of((0, 0, 100, 100))
    assert (motion.centre, motion.velocity, motion.box) == ((50, 50), (0, 0), (0, 0, 100, 100))
    for i in range(1, 60):
        motion = motion.after(1 / 30).seen((2.0 * i, 0, 100, 100))
    assert motion.velocity == pytest.approx((60, 0), abs=5)
    assert motion.centre == pytest.approx((168, 50), abs=2)
    assert motion.away < 0.03
    assert motion.after(1.0).away > 1
    unseen = motion.after(100.0)  # it does not fly away
    assert unseen.centre[0] - motion.centre[0] == pytest.approx(motion.velocity[0], rel=0.01)


def test_distances() -> None:
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (5, 5, 2, 2)) == 0
    assert apart((0, 0, 2, 2), (3, 4, 2, 2)) == 2.5


def test_assignment_is_the_cheapest_in_all() -> None:
    costs = np.array([[1.0, 2.0], [1.5, 9.0]])
    assert assigned(costs, [0, 1], [0, 1]) == [(0, 1), (1, 0)]  # 3.5, not 1 + 9
    assert assigned(costs, [1], [0, 1]) == [(1, 0)]
    assert assigned(costs, [], [0]) == []


def test_what_a_face_looks_like_does_not_depend_on_the_light() -> None:
    crop: Any = np.random.default_rng(0).random((48, 48, 3))
    assert look_of(crop) @ look_of(0.3 * crop + 0.2) == pytest.approx(1)
    assert look_of(np.zeros((48, 48, 1))).tolist() == [0] * 256
