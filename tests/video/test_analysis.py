"""From films to frames with faces: tracks, options, batches, threads, and going on from a state."""

from __future__ import annotations

import inspect
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import cv2
import numpy as np
import pytest

import ferjax
from ferjax import EmotionClassifier, preprocessing
from ferjax.errors import DetectorError, FerjaxError, PriorError, VideoError, VideoWarning
from ferjax.faces.detection import Detection, followed
from ferjax.video import analysis as analysing
from ferjax.video import finding
from ferjax.video.ahead import Ahead
from ferjax.video.analysis import Analysis, analyze
from ferjax.video.pictures import Frame
from ferjax.video.schedule import Schedule
from ferjax.video.seen import VideoFrame
from ferjax.video.settings import Options, Settings

from ..faces.test_analysis import Brightness
from .films import damage, head, levels, pasted, texture, write_film

GROUND = texture(0)


class Stub(Brightness):
    """A classifier whose confidence is how bright a crop is; it keeps what it was given."""

    scaling = None

    def preprocess(self, image: Any, *, resize: Any) -> np.ndarray:
        return preprocessing.preprocess(image, size=(16, 16), resize=resize)

    def prior_after(self, scaling: Any) -> None:
        return None


def bright_squares(picture: np.ndarray) -> list[Detection]:
    """Find a face of 20 pixels around each white pixel."""
    return [
        Detection(box=(x - 10, y - 10, 20, 20), score=0.9)
        for y, x in np.argwhere((picture == 255).all(axis=2)).tolist()
    ]


def walk(count: int, where: Callable[[int], list[tuple[int, int]]]) -> list[tuple[float, Any]]:
    """Return frames at 30 a second with a white pixel at each place, (x, y)."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (120, 160, 3), dtype=np.uint8)
    frames = []
    for i in range(count):
        picture = ground.copy()
        for x, y in where(i):
            picture[y - 10 : y + 10, x - 10 : x + 10] = 60 + i % 100
            picture[y, x] = 255
        frames.append((i / 30, picture))
    return frames


def run(source: Any, classifier: Any = None, **options: Any) -> list[VideoFrame]:
    options.setdefault("detector", bright_squares)
    return list(analyze(classifier or Stub(), source, **options))


def rows(frames: list[VideoFrame]) -> list[Any]:
    return [
        (f.number, f.time, face.track, face.box, face.score, face.raw, face.probabilities)
        for f in frames
        for face in f.faces
    ]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "ferjax-video" in thread.name]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that moves for 40 frames at 20 a second, 320x240."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    pictures = (pasted(GROUND, [(40 + 3 * i, 60, head(100))]) for i in range(40))
    return write_film(path, pictures, rate=20)


@pytest.fixture(scope="module")
def small() -> EmotionClassifier:
    """A network of 12x12 pixels."""
    path = Path(__file__).parents[1] / "fixtures" / "keras" / "keras-2.15.0" / "sequential.h5"
    return ferjax.load(path, labels=list("abcdefg"))


# --- what comes out ------------------------------------------------------------------------------


def test_a_face_in_a_film(film: Path, small: EmotionClassifier) -> None:
    frames = list(small.analyze_video(film))
    assert [frame.number for frame in frames] == list(range(40))
    assert [frame.time for frame in frames] == pytest.approx([i / 20 for i in range(40)])
    assert {tuple(face.track for face in frame.faces) for frame in frames} == {(1,)}
    for frame in frames:
        (face,) = frame.faces
        assert face.centre[0] == pytest.approx(40 + 3 * frame.number + 44, abs=6)
        assert sum(face.raw.values()) == pytest.approx(1, abs=1e-5)
        assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert face.confidence == max(face.probabilities.values())
        assert frame.shape == (240, 320)
        assert frame.live == [1]
        assert frame.image is None
    assert repr(frames[0].faces[0]).startswith("VideoFace(label=")
    assert repr(frames[0].faces[0]).endswith("track=1)")


def test_followed_faces_are_where_a_look_at_the_whole_frame_finds_them(
    film: Path, small: EmotionClassifier
) -> None:
    every, tenth = (list(small.analyze_video(film, detect_every=n)) for n in (1, 10))
    for a, b in zip(every, tenth, strict=True):
        (x, y), (u, v) = a.faces[0].centre, b.faces[0].centre
        assert np.hypot(x - u, y - v) < 0.05 * a.faces[0].size
        assert b.faces[0].size == pytest.approx(a.faces[0].size, rel=0.1)


def test_smoothing_is_off_with_0(small: EmotionClassifier, film: Path) -> None:
    (first, *_), (smooth, *more) = (
        [face for frame in small.analyze_video(film, end=0.5, smooth=s) for face in frame.faces]
        for s in (0.0, 0.5)
    )
    assert first.raw == first.probabilities == smooth.raw == smooth.probabilities
    assert more[-1].raw != more[-1].probabilities


def test_two_faces_that_pass_each_other(small: EmotionClassifier) -> None:
    def places(i: int) -> list[tuple[float, float, np.ndarray]]:
        other = np.ascontiguousarray(head(90)[:, ::-1])
        return [(5 + 3 * i, 20, head(90)), (235 - 3 * i, 135, other)]

    frames = small.analyze_video((i / 20, pasted(GROUND, places(i))) for i in range(50))
    ways: dict[int, list[float]] = {}
    for frame in frames:
        for face in frame.faces:
            ways.setdefault(face.track, []).append(face.centre[0])
    assert sorted(ways) == [1, 2]
    assert all(len(way) == 50 for way in ways.values())
    right, left = sorted(ways.values())
    assert right[-1] - right[0] > 120
    assert left[-1] - left[0] < -120


def test_a_face_that_leaves_and_comes_back_soon_or_late() -> None:
    gone = {*range(30, 50), *range(80, 150)}
    frames = run(walk(180, lambda i: [] if i in gone else [(50, 60)]))
    tracks = [[face.track for face in frame.faces] for frame in frames]
    assert tracks[:30] == tracks[50:80] == [[1]] * 30
    assert tracks[30:50] == [[]] * 20
    assert tracks[150:] == [[2]] * 30
    assert list(frames[40].live) == [1]
    assert frames[40].unseen[0].centre == pytest.approx((50, 60), abs=1)
    assert list(frames[149].live) == []


def test_a_cut_ends_tracks() -> None:
    frames = walk(20, lambda i: [(50, 60)])
    other = np.random.default_rng(1).integers(0, 250, (120, 160, 3), dtype=np.uint8)
    other[50:70, 40:60] = 90
    other[60, 50] = 255  # the same place, in another scene
    done = run([*frames[:10], *((t, other) for t, _ in frames[10:])])
    assert [frame.number for frame in done if frame.cut] == [10]
    assert [face.track for frame in done for face in frame.faces] == [1] * 10 + [2] * 10


# --- options -------------------------------------------------------------------------------------


def test_the_options_are_those_of_the_settings() -> None:
    fields = inspect.signature(Settings).parameters
    assert list(get_type_hints(Options)) == list(fields)


def test_region() -> None:
    source = walk(4, lambda i: [(30, 60), (110, 60)])
    frames = run(source, region=(80, 20, 80, 100))
    assert [[face.box for face in frame.faces] for frame in frames] == [[(100, 50, 20, 20)]] * 4
    with pytest.raises(VideoError, match="expected a region in the picture of 160 x 120 pixels"):
        run(source, region=(500, 0, 10, 10))


def test_region_of_a_film(film: Path, small: EmotionClassifier) -> None:
    whole = list(small.analyze_video(film, detect_every=5))
    part = list(small.analyze_video(film, detect_every=5, region=(0, 30, 150, 210)))
    for frame, other in zip(whole[:15], part):
        assert other.faces[0].centre == pytest.approx(frame.faces[0].centre, abs=4)
    assert part[-1].faces == []


def test_max_faces_takes_those_that_were_taken_before() -> None:
    def detector(picture: np.ndarray) -> list[Detection]:
        faces = bright_squares(picture)  # the second grows
        size = 10 + picture[60, 111, 0] / 4
        return [
            face if face.centre[0] < 80 else Detection(box=(*face.box[:2], size, size), score=0.9)
            for face in faces
        ]

    frames = run(walk(60, lambda i: [(30, 60), (110, 60)]), detector=detector, max_faces=1)
    assert {tuple(face.track for face in frame.faces) for frame in frames} == {(2,)}
    frames = run(walk(9, lambda i: [(30, 60), (110, 60)] if i < 5 else [(30, 60)]), max_faces=1)
    assert [face.track for frame in frames for face in frame.faces] == [1] * 9


def test_between_looks_a_detector_s_faces_move_on() -> None:
    calls = []

    def detector(picture: np.ndarray) -> list[Detection]:
        calls.append(1)
        return bright_squares(picture)

    frames = run(walk(50, lambda i: [(30 + 2 * i, 60)]), detector=detector, detect_every=5)
    assert len(calls) == 10
    centres = [frame.faces[0].centre[0] for frame in frames]
    assert centres[20:] == pytest.approx([30 + 2 * i for i in range(20, 50)], abs=2)
    assert {face.track for frame in frames for face in frame.faces} == {1}


def test_a_detector_s_face_may_move_out_of_the_picture() -> None:
    frames = walk(32, lambda i: [(90 + 2 * i, 60)] if i <= 30 else [])
    frames[31] = (2.0, frames[31][1])  # a second after the look that saw it at the edge
    *before, last = run(frames, detect_every=5)
    assert [len(frame.faces) for frame in before] == [1] * 31
    assert (last.faces, list(last.live)) == ([], [1])
    assert last.unseen[0].centre[0] > 160


def test_abstention_is_by_the_smoothed_confidence(small: EmotionClassifier, film: Path) -> None:
    (frame, *_) = small.analyze_video(film, end=0.1, abstain_below=1.0)
    assert frame.faces[0].label is None
    assert frame.faces[0].index is None
    assert frame.faces[0].confidence > 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ValueError, "for `every`, got 0"),
        ({"latency": "fast"}, ValueError, "expected 'low' or 'throughput' for `latency`"),
        ({"detect_every": 0}, ValueError, "expected an integer of at least 1 for `detect_every`"),
        ({"max_faces": 1.5}, ValueError, "expected an integer of at least 1 for `max_faces`"),
        ({"max_gap": -1}, ValueError, "expected seconds from 0 on for `max_gap`, got -1"),
        ({"timeout": 0}, ValueError, "for `timeout`, got 0"),
        ({"smooth": "1"}, ValueError, "for `smooth`, got '1'"),
        ({"smoothing": "mean"}, ValueError, "for `smoothing`, got 'mean'"),
        ({"region": (0, 0, 0, 5)}, ValueError, r"expected \(x, y, width, height\) in pixels"),
        ({"region": "1,2,3,4"}, ValueError, r"expected \(x, y, width, height\) in pixels"),
        ({"min_score": 2}, ValueError, "for `min_score`, got 2"),
        ({"resize": None}, ValueError, "for `resize`, got None"),
        ({"detector": 5}, DetectorError, "expected a callable for `detector`, got int"),
        ({"prior": "adapt"}, PriorError, "needs all faces before the first result"),
        ({"abstain_below": 2}, FerjaxError, "for `abstain_below`, got 2|`abstain_below` in"),
        ({"calibrated": True}, FerjaxError, "without a temperature"),
        ({"evry": 2}, TypeError, "evry"),
    ],
)
def test_bad_options_are_said_before_anything_is_read(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        analyze(Stub(), iter([]), **options)  # type: ignore[arg-type]


# --- batches, threads, errors --------------------------------------------------------------------


def test_the_network_gets_full_batches_of_several_frames() -> None:
    classifier = Stub()
    run(walk(20, lambda i: [(30, 60)]), classifier)
    assert classifier.batches == [4] * 5
    classifier = Stub()
    run(walk(6, lambda i: [(30, 60)]), classifier)
    assert classifier.batches == [4, 4]  # the last is filled up
    classifier = Stub()
    run(walk(3, lambda i: [(30, 60), (110, 60)]), classifier, latency="low")
    assert classifier.batches == [2, 2, 2]


def test_a_face_s_numbers_do_not_depend_on_the_others(small: EmotionClassifier) -> None:
    alone = run(walk(10, lambda i: [(30, 60)]), small)
    both = run(walk(10, lambda i: [(30, 60), (110, 60)]), small)
    assert rows(alone) == [row for row in rows(both) if row[2] == 1]
    once = run(walk(10, lambda i: [(30, 60)])[:3], small)
    assert rows(once) == rows(alone)[:3]


def test_low_latency_gives_each_frame_before_the_next_is_taken() -> None:
    taken = []

    def source() -> Iterator[Any]:
        for item in walk(5, lambda i: [(30, 60)]):
            taken.append(item[0])
            yield item

    for i, frame in enumerate(analyze(Stub(), source(), detector=bright_squares, latency="low")):
        assert len(taken) == i + 1
        assert frame.number == i


def test_memory_is_bounded_and_threads_end() -> None:
    taken = 0

    def endless() -> Iterator[Any]:
        nonlocal taken
        picture = walk(1, lambda i: [(30, 60)])[0][1]
        while True:
            yield taken / 30, picture
            taken += 1

    frames = analyze(Stub(), endless(), detector=bright_squares)
    for _, frame in zip(range(200), frames):
        assert frame.faces
    time.sleep(0.05)
    assert taken < 200 + 32 + 8 + 64
    frames.close()  # type: ignore[attr-defined]
    assert threads() == []


def test_pictures_are_kept_where_that_is_asked_for() -> None:
    source = walk(12, lambda i: [(30, 60)])
    for frame, (_, picture) in zip(run(source, keep_images=True), source, strict=True):
        assert np.array_equal(frame.image, picture)


def test_an_error_comes_after_the_frames_before_it() -> None:
    def source() -> Iterator[Any]:
        yield from walk(11, lambda i: [(30, 60)])
        raise RuntimeError("the user's")

    done = []
    with pytest.raises(RuntimeError, match="the user's"):
        for frame in analyze(Stub(), source(), detector=bright_squares):
            done.append(frame.number)
    assert done == list(range(11))
    assert threads() == []


def test_so_does_one_of_the_region(small: EmotionClassifier) -> None:
    wide, narrow = (texture(0, width, width * 3 // 4) for width in (320, 80))
    source = [(i / 30, narrow if i == 6 else wide) for i in range(8)]
    done = []
    with pytest.raises(VideoError, match="expected a region in the picture of 80 x 60 pixels"):
        for frame in small.analyze_video(source, region=(160, 0, 160, 240)):
            done.append(frame.number)
    assert done == list(range(6))


def test_what_is_wrong_with_a_film_is_warned_of(tmp_path: Path, small: EmotionClassifier) -> None:
    path = write_film(tmp_path / "a.mp4", levels(30))
    damage(path, slice(14, 16))
    with pytest.warns(VideoWarning, match="2 damaged frames were skipped"):
        assert len(list(small.analyze_video(path))) == 28
    with pytest.raises(VideoError, match="no such file"):
        small.analyze_video(tmp_path / "none.mp4")


class Slow:
    """A live source that gives frames faster than they are looked at, and then nothing."""

    name, rate, duration, is_live = "camera 0", 100.0, None, True

    def __init__(self, stalls: bool = False) -> None:
        from ferjax.video.pictures import Problems

        self.problems, self.stalls, self.closed = Problems(), stalls, False

    def __iter__(self) -> Iterator[Any]:
        from ferjax.video.pictures import Picture

        for i, (moment, picture) in enumerate(walk(30, lambda i: [(30, 60)])):
            time.sleep(0.002)
            yield Picture(number=i, time=moment, content=picture)
        if self.stalls:
            time.sleep(1.0)

    def close(self) -> None:
        self.closed = True


def test_frames_of_a_camera_that_came_meanwhile_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = Slow()
    monkeypatch.setattr(analysing, "opened", lambda *_, **__: camera)
    analysis = Analysis(Stub(), 0, Settings(detector=bright_squares))  # type: ignore[arg-type]
    numbers = []
    for frame in analysis:
        numbers.append(frame.number)
        time.sleep(0.02)
    assert numbers == sorted(numbers)
    assert len(numbers) < 15
    assert len(numbers) + analysis.dropped >= 29
    assert camera.closed


def test_a_camera_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysing, "opened", lambda *_, **__: Slow(stalls=True))
    settings = Settings(detector=bright_squares, timeout=0.2)
    done = []
    with pytest.raises(VideoError, match=r"camera 0: gave nothing for 0\.2 s, and is given up"):
        for frame in Analysis(Stub(), 0, settings):  # type: ignore[arg-type]
            done.append(frame.number)
    assert 29 in done


def test_a_timeout_may_be_longer_than_the_system_waits() -> None:
    def late() -> Iterator[int]:
        time.sleep(0.05)
        yield 1

    assert list(Ahead(late(), timeout=1e300)) == [1]


# --- how often whole frames are looked at --------------------------------------------------------


def due(schedule: Schedule, times: Any, cuts: Any = ()) -> list[int]:
    image = np.zeros((1, 1, 3), np.uint8)
    return [
        i
        for i, t in enumerate(times)
        if schedule.is_due(Frame(number=i, time=float(t), image=image, cut=i in cuts))
    ]


def test_whole_frames_are_looked_at_five_times_a_second() -> None:
    assert due(Schedule(None), [i / 30 for i in range(20)]) == [0, 6, 12, 18]
    assert due(Schedule(None), [round(i / 30, 3) for i in range(20)]) == [0, 6, 12, 18]
    assert due(Schedule(None), [i / 5 for i in range(4)]) == [0, 1, 2, 3]
    assert due(Schedule(None), [0, 0.01, 0.5, 0.51, 0.69, 0.71]) == [0, 2, 5]
    assert due(Schedule(4), [i / 30 for i in range(10)]) == [0, 4, 8]
    assert due(Schedule(4), [i / 30 for i in range(10)], cuts={5}) == [0, 4, 5, 9]


def test_as_often_as_there_is_time_for() -> None:
    for less, whole, expected in (
        (0.001, 0.010, 1),  # of 0.8 / 30 s
        (0.010, 0.060, 3),
        (0.030, 0.060, 10),
        (0.001, 9.000, 10),
    ):
        schedule = Schedule(None, keeps_up=True)
        schedule.spent(less, whole=False)
        schedule.spent(whole, whole=True)
        looked = due(schedule, [i / 30 for i in range(40)])
        assert looked[1] - looked[0] == expected


def test_each_other_look_is_a_close_one_and_the_first_of_a_shot_is() -> None:
    def close(schedule: Schedule, cuts: Any = ()) -> list[bool]:
        image = np.zeros((1, 1, 3), np.uint8)
        frames = [Frame(number=i, time=i / 30, image=image, cut=i in cuts) for i in range(31)]
        return [schedule.is_close for frame in frames if schedule.is_due(frame)]

    assert close(Schedule(None)) == [True, False] * 3
    assert close(Schedule(None), cuts={8}) == [True, False, True, False, True, False]
    assert close(Schedule(10)) == [True] * 4  # what is asked for is done
    assert set(close(Schedule(None, keeps_up=True))) == {True}


class Looks:
    """Counts how often a face is looked for at its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr(finding, "followed", self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.count += 1
        return followed(*arguments, **options)


def moving(count: int, step: float, shaken: Any = None) -> list[tuple[float, Any]]:
    """Return frames at 30 a second in which a head moves by so many pixels, and is shaken."""
    places = [40 + step * i + (shaken[i] if shaken else 0) for i in range(count)]
    return [(i / 30, pasted(GROUND, [(x, 60, head(100))])) for i, x in enumerate(places)]


def test_a_face_that_hardly_moves_is_not_looked_for_in_each_frame(
    small: EmotionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, source = Looks(monkeypatch), moving(13, 1)
    frames = list(small.analyze_video(source))
    assert looks.count == 4  # in the frames 3, 6, 9 and 12
    every = list(small.analyze_video(source, detect_every=1))
    for frame, expected in zip(frames, every, strict=True):
        (face,), (other,) = frame.faces, expected.faces
        assert face.track == 1
        assert math.dist(face.centre, other.centre) < 0.03 * other.size
        assert face.size == pytest.approx(other.size, rel=0.05)
        assert face.landmarks is not None and other.landmarks is not None
        assert np.abs(face.landmarks - other.landmarks).max() < 0.05 * other.size
        assert (face.score, face.roll) == pytest.approx((other.score, other.roll), abs=6)
    first, between, last = (np.array(frames[i].faces[0].box) for i in (3, 4, 6))
    assert between == pytest.approx((2 * first + last) / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        (moving(13, 3), {}, 6),  # evenly, but for the first time, when that is not known
        (moving(13, 8), {}, 12),  # in 0.1 s by 0.24 of its height
        (moving(13, 0, 3 * [12, 12, 12, 0, 0, 0]), {}, 12),  # to and fro
        ([(1.2 * t, picture) for t, picture in moving(11, 2)], {}, 6),  # 25 frames/s
        ([(1.5 * t, picture) for t, picture in moving(9, 2)], {}, 8),  # 20 frames/s
        ([(t / 2, picture) for t, picture in moving(13, 0.5)], {}, 3),  # 60 frames/s
        (moving(9, 2), {"latency": "low", "detect_every": 4}, 8),
    ],
    ids=["slow", "fast", "shaken", "25/s", "20/s", "60/s", "low latency"],
)
def test_how_often_a_face_is_looked_for(
    source: list[Any],
    options: dict[str, Any],
    expected: int,
    small: EmotionClassifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Looks(monkeypatch)
    frames = list(small.analyze_video(source, **options))
    assert [len(frame.faces) for frame in frames] == [1] * len(source)
    assert looks.count == expected


def swung(hertz: float, far: float) -> list[tuple[float, Any]]:
    """Return 25 frames at 30 a second in which a head swings by so many pixels to each side."""
    return moving(25, 0, [60 + far * math.sin(2 * math.pi * hertz * i / 30) for i in range(25)])


@pytest.mark.parametrize(
    ("hertz", "far"),
    [(5, 10), (10, 10), (3, 25), (2, 60)],
    ids=["where it was each tenth of a second", "and each third", "fast", "as far as it is high"],
)
def test_a_head_that_swings_is_where_each_frame_has_it(
    hertz: float, far: float, small: EmotionClassifier
) -> None:
    source = swung(hertz, far)
    every = small.analyze_video(source, detect_every=1)
    for frame, expected in zip(small.analyze_video(source), every, strict=True):
        (face,), (other,) = frame.faces, expected.faces
        assert face.track == 1
        assert math.dist(face.centre, other.centre) < 0.06 * other.size


def test_a_face_that_is_lost_is_looked_for_in_the_whole_frame(small: EmotionClassifier) -> None:
    source = moving(12, 0, [0] * 8 + [180] * 4)
    frames = list(small.analyze_video(source))
    assert [len(frame.faces) for frame in frames] == [1] * 12
    assert not any(frame.cut for frame in frames)
    # Where only each so many frames are to be looked at as a whole, that is so.
    frames = list(small.analyze_video(source, detect_every=20))
    assert [len(frame.faces) for frame in frames] == [1] * 8 + [0] * 4


def test_a_face_that_is_hidden_for_two_frames_is_not_between(small: EmotionClassifier) -> None:
    hidden = moving(13, 0)
    for i in (7, 8):  # those between two that are looked at
        picture = hidden[i][1].copy()
        picture[50:170, 30:140] = 120
        hidden[i] = (hidden[i][0], picture)
    seen = [len(frame.faces) for frame in small.analyze_video(hidden)]
    assert seen == [1] * 7 + [0] * 2 + [1] * 4


def test_a_face_that_goes_is_looked_for_in_the_frame_before(small: EmotionClassifier) -> None:
    source = [*moving(4, 0), *((i / 30, GROUND) for i in range(4, 12))]
    seen = [len(frame.faces) for frame in small.analyze_video(source)]
    assert seen == [1] * 4 + [0] * 8


def test_a_film_may_change_its_size(small: EmotionClassifier) -> None:
    wide = pasted(texture(0, 1280, 960), [(850, 300, head(400))])
    narrow = cv2.resize(wide, (320, 240), interpolation=cv2.INTER_AREA)
    sizes = [wide, narrow, wide, wide, narrow, narrow, narrow, narrow]
    frames = list(small.analyze_video((i / 30, picture) for i, picture in enumerate(sizes)))
    assert not any(frame.cut for frame in frames)
    tracks = [[face.track for face in frame.faces] for frame in frames]
    assert tracks == [[1], [], [1], [1], [2], [2], [2], [2]]


def test_a_small_face_stays_where_every_other_look_is_from_afar(small: EmotionClassifier) -> None:
    ground = texture(0, 640, 480)
    pictures = [pasted(ground, [(300 + i, 200, head(48))]) for i in range(20)]
    frames = list(small.analyze_video((i / 30, picture) for i, picture in enumerate(pictures)))
    assert [[face.track for face in frame.faces] for frame in frames] == [[1]] * 20
    assert frames[0].faces[0].size < 32  # in which from afar none is seen


def test_a_new_face_is_seen_in_a_fifth_of_a_second(small: EmotionClassifier) -> None:
    ground = texture(0, 640, 480)
    for begin in (2, 8):  # before a look from afar, and before a close one
        seen = small.analyze_video(
            (i / 30, pasted(ground, [(300, 200, head(100))] if i >= begin else []))
            for i in range(14)
        )
        first = next(frame.number for frame in seen if frame.faces)
        assert first == 6 * math.ceil(begin / 6)


# --- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"smoothing": "hmm", "max_faces": 1, "every": 2}])
def test_it_goes_on_from_its_state(film: Path, options: dict[str, Any]) -> None:
    classifier: Any = Stub()
    settings = Settings(**options)
    analysis = Analysis(classifier, film, settings, snapshots=0.0)
    expected, states = [], []
    for frame in analysis:
        expected.append(rows([frame]))
        states.append(json.dumps(analysis.state))
    for stop in (2, len(states) // 2, len(states) - 2):
        again = Analysis(classifier, film, settings, state=json.loads(states[stop]))
        assert [rows([frame]) for frame in again] == expected[stop + 1 :]


def test_it_goes_on_between_frames_that_are_not_looked_at() -> None:
    classifier: Any = Stub()
    source = moving(30, 2)
    analysis = Analysis(classifier, source, Settings(), snapshots=0.0)
    expected, states = [], []
    for frame in analysis:
        expected.append(rows([frame]))
        states.append(json.dumps(analysis.state))
    known = [i for i, state in enumerate(states) if state != "null"]
    assert known == [*range(0, 28, 3), 29]  # none knows what is not looked at
    for stop in (3, 6, 9, 12, 21, 27):
        again = Analysis(classifier, source, Settings(), state=json.loads(states[stop]))
        assert [rows([frame]) for frame in again] == expected[stop + 1 :]
