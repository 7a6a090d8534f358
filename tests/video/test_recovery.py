"""Known sequences of expressions and known ways of faces, with FER2013's faces in films."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

import ferjax
from ferjax import EmotionClassifier
from ferjax.faces.detection import detect
from ferjax.video import find_events
from ferjax.video.events import Event

from .films import pasted, texture, write_film

RATE = 30
SEGMENTS = (("happy", 2.0), ("surprise", 1.5), ("neutral", 2.5), ("happy", 1.5), ("surprise", 2.0))
FOLDERS = {"happy": "happy", "surprise": "surprised", "neutral": "neutral"}


def matches(events: Sequence[Event], true: Sequence[tuple[str, float, float]]) -> int:
    """Return how many events share more than half of their union with a true one of their label."""
    left, count = list(true), 0
    for event in events:
        for item in left:
            label, start, end = item
            common = min(end, event.end) - max(start, event.start)
            whole = max(end, event.end) - min(start, event.start)
            if label == event.label and common > whole / 2:
                left.remove(item)
                count += 1
                break
    return count


@pytest.fixture(scope="module")
def classifier() -> EmotionClassifier:
    return ferjax.load()


@pytest.fixture(scope="module")
def pools(fer_zip: Path, classifier: EmotionClassifier) -> dict[str, list[np.ndarray]]:
    """Ten faces of each expression, 120 pixels, that the detector finds and the network reads."""
    chosen: dict[str, list[np.ndarray]] = {}
    with zipfile.ZipFile(fer_zip) as archive:
        for label, folder in FOLDERS.items():
            chosen[label] = []
            names = sorted(n for n in archive.namelist() if n.startswith(f"test/{folder}/"))
            for name in names[:150]:
                small = cv2.imdecode(
                    np.frombuffer(io.BytesIO(archive.read(name)).read(), np.uint8), 0
                )
                gray = cv2.resize(small, (120, 120), interpolation=cv2.INTER_CUBIC)
                face = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
                canvas = pasted(texture(1), [(100, 60, face)])
                found = detect(canvas)
                if len(found) != 1 or not 95 < found[0].size < 140:
                    continue
                (read,) = classifier.analyze(canvas)
                if read.label == label and read.confidence > 0.6:
                    chosen[label].append(face)
                if len(chosen[label]) == 10:
                    break
    return chosen


def frames_of(pools: dict[str, list[np.ndarray]], seed: int) -> Iterator[np.ndarray]:
    """Yield a face that moves; every tenth picture or so shows another expression."""
    rng = np.random.default_rng(seed)
    ground, number = texture(seed), 0
    for label, seconds in SEGMENTS:
        for _ in range(round(RATE * seconds)):
            others = [other for other in pools if other != label]
            shown = label if rng.random() < 0.9 else rng.choice(others)
            face = pools[shown][int(rng.integers(len(pools[shown])))]
            x, y = 100 + 60 * np.sin(number / 25), 60 + 20 * np.cos(number / 18)
            yield pasted(ground, [(x, y, face)])
            number += 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"smoothing": "hmm", "smooth": 2.0}], ids=["exponential", "hmm"]
)
def test_known_sequences_are_recovered(
    classifier: EmotionClassifier,
    pools: dict[str, list[np.ndarray]],
    tmp_path: Path,
    options: dict[str, object],
) -> None:
    path = write_film(tmp_path / "a.mp4", frames_of(pools, 3), rate=RATE)
    ends = np.cumsum([seconds for _, seconds in SEGMENTS]).tolist()
    true = [
        (label, end - seconds, end) for (label, seconds), end in zip(SEGMENTS, ends, strict=True)
    ]
    frames = list(classifier.analyze_video(path, **options))  # type: ignore[arg-type]
    raw = smooth = count = 0
    for frame in frames:
        label = next(name for name, start, end in true if start <= frame.time + 1e-6 < end + 1e-6)
        for face in frame.faces:
            raw += max(face.raw, key=lambda name: face.raw[name]) == label
            smooth += face.label == label
            count += 1
    assert count > 0.9 * len(frames)
    assert {face.track for frame in frames for face in frame.faces} == {1}
    assert 0.82 < raw / count < 0.95
    assert smooth / count > raw / count + 0.01
    events = list(find_events(frames))
    right = matches(events, true)
    assert 2 * right / (len(events) + len(true)) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("rate", [30, 10])
def test_faces_that_cross_leave_and_come_back(
    classifier: EmotionClassifier, pools: dict[str, list[np.ndarray]], tmp_path: Path, rate: int
) -> None:
    first, second, third = (pools[label][0] for label in ("happy", "surprise", "neutral"))
    ground = texture(5, 640, 480)

    def places(t: float) -> dict[int, tuple[float, float]]:
        ways = {0: (20 + 160 * t, 60.0), 1: (500 - 160 * t, 72.0)}  # the first in front
        if not 1.0 <= t < 2.4:  # behind something
            ways[2] = (250 + 30 * t, 300.0)
        return ways

    def frames() -> Iterator[np.ndarray]:
        for i in range(3 * rate):
            ways = places(i / rate)
            faces = {0: first, 1: second, 2: third}
            yield pasted(ground, [(*ways[k], faces[k]) for k in sorted(ways, reverse=True)])

    path = write_film(tmp_path / "a.mp4", frames(), rate=rate)
    tracks: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    seen = 0
    for frame in classifier.analyze_video(path):
        ways = places(frame.time)
        hidden = abs(ways[0][0] - ways[1][0]) < 90
        for way, (x, y) in ways.items():
            near = [
                face.track
                for face in frame.faces
                if abs(face.centre[0] - x - 60) < 25 and abs(face.centre[1] - y - 60) < 25
            ]
            if not (hidden and way < 2):
                tracks[way] |= set(near)
                seen += len(near) == 1
    assert seen > 0.9 * sum(len(places(i / rate)) for i in range(3 * rate)) - 2 * rate
    assert sorted(map(sorted, tracks.values())) == [[1], [2], [3]]
