"""Cuts and dissolves, and what is none: heads that move, cameras that turn, changes of light."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from ferjax.preprocessing import read_image
from ferjax.video.cuts import Dissolves, is_cut, shrunk
from ferjax.video.pictures import Choice, Picture

from .films import ROOT, head, pasted, texture

Film = Callable[[float], np.ndarray]
PHOTOGRAPH = cv2.resize(read_image(ROOT / "examples" / "astronaut.jpg", channels=3), (320, 240))


def small(picture: np.ndarray) -> np.ndarray:
    return shrunk(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def nods(ground: np.ndarray, height: int, speed: float = 0.5) -> Film:
    """Return a film of a head that moves so many of its heights a second."""
    patch = head(height)

    def picture(t: float) -> np.ndarray:
        x = 160 - patch.shape[1] / 2 + 70 * np.sin(speed * height * t / 70)
        return pasted(ground, [(x, 240 - height, patch)])

    return picture


def mixed(first: Film, second: Film, length: float, middle: float = 2.0) -> Film:
    """Return a film that dissolves from one into another in so many seconds."""

    def picture(t: float) -> np.ndarray:
        share = np.clip((t - middle) / length + 0.5, 0, 1)
        return np.asarray(np.rint((1 - share) * first(t) + share * second(t)), np.uint8)

    return picture


def dissolves(film: Film, rate: float, seconds: float = 4.0) -> list[tuple[float, float]]:
    """Return when each dissolve was found, and its middle."""
    finder, done = Dissolves(), []
    for i in range(round(seconds * rate)):
        middle = finder.middle(i / rate, small(film(i / rate)))
        if middle is not None:
            done.append((i / rate, middle))
    return done


# --- cuts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ground", [texture(1), PHOTOGRAPH, np.full((240, 320, 3), 180, np.uint8)])
def test_a_large_head_that_moves_is_no_cut(ground: np.ndarray) -> None:
    patch = head(150)  # as between frames that are a second apart
    frames = [small(pasted(ground, [(x, 80, patch)])) for x in (-20, 60, 140, 190)]
    assert not any(is_cut(a, b) for a in frames for b in frames)


@pytest.mark.parametrize("height", [60, 110])
def test_the_same_head_before_something_else_is_a_cut(height: int) -> None:
    shots = [texture(1), texture(2), PHOTOGRAPH, np.ascontiguousarray(PHOTOGRAPH[::-1])]
    frames = [small(pasted(ground, [(110, 90, head(height))])) for ground in shots]
    assert all(is_cut(a, b) for i, a in enumerate(frames) for b in frames[:i])


@pytest.mark.parametrize("turned", [False, True])
def test_black_bars_hide_no_cut(turned: bool) -> None:
    frames = []
    for seed in (1, 2):
        picture = small(texture(seed))
        picture[:12] = picture[-12:] = 16
        frames.append(np.ascontiguousarray(picture.T) if turned else picture)
    assert (frames[0] == frames[1]).mean() > 0.5
    assert is_cut(*frames)


def test_light_and_black_frames() -> None:
    frame, black = small(texture(1)), np.zeros((48, 64), np.uint8)
    assert not is_cut(frame, frame // 2)
    assert not is_cut(black, black)
    assert is_cut(frame, black)
    assert is_cut(frame, frame.T)  # another size


# --- dissolves -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "rate", "height"),
    [(0.5, 20, 0), (1.0, 10, 0), (2.0, 10, 0), (3.0, 6, 0), (0.5, 20, 90)],
)
def test_a_dissolve_is_found_once(length: float, rate: float, height: int) -> None:
    first, second = texture(1), PHOTOGRAPH
    film = mixed(nods(first, height or 1), nods(second, height or 1), length)
    ((found, middle),) = dissolves(film, rate)
    assert 2.0 - 0.2 * length < found < 2.0 + 0.5 * length + 0.2
    assert middle == pytest.approx(2.0, abs=0.2 * length + 0.1)


@pytest.mark.parametrize("mixes", [1, 2])
def test_a_cut_with_a_mixed_frame_is_found(mixes: int) -> None:
    shots = nods(texture(1), 60), nods(texture(2), 60)
    frames = [small(mixed(*shots, (mixes + 1) / 30, 1.0)(i / 30)) for i in range(60)]
    assert not any(map(is_cut, frames, frames[1:]))
    assert len(dissolves(mixed(*shots, (mixes + 1) / 30, 1.0), 30, 2.0)) == 1


def test_a_fade_through_black_is_found() -> None:
    black: Film = lambda t: np.zeros((240, 320, 3), np.uint8)  # noqa: E731
    film = mixed(mixed(nods(texture(1), 60), black, 0.8, 1.5), nods(texture(2), 60), 0.8, 3.0)
    ends = [middle for _, middle in dissolves(film, 15)]
    assert 1.2 < ends[0] < 2.0
    assert all(middle < 3.2 for middle in ends)


@pytest.mark.parametrize(("height", "speed"), [(110, 1.5), (190, 0.5), (225, 3.0)])
@pytest.mark.parametrize("rate", [30, 5])
def test_a_head_that_moves_is_no_dissolve(height: int, speed: float, rate: float) -> None:
    assert dissolves(nods(texture(1), height, speed), rate, 90 / rate) == []


@pytest.mark.parametrize("speed", [10, 40, 160])
def test_a_camera_that_turns_is_no_dissolve(speed: float) -> None:
    wide = texture(3, 1280, 240)
    film: Film = lambda t: wide[:, round(speed * t) : round(speed * t) + 320]  # noqa: E731
    assert dissolves(film, 10) == []


def test_light_that_comes_and_goes_is_no_dissolve() -> None:
    still = texture(1)
    film: Film = lambda t: np.uint8(still * (0.65 + 0.35 * np.cos(2 * t)))  # noqa: E731
    assert dissolves(film, 10) == []


def test_frames_say_where_a_dissolve_has_its_middle() -> None:
    def pictures(film: Film) -> Iterator[Picture]:
        for i in range(40):
            yield Picture(number=i, time=i / 10, content=film(i / 10))

    film = mixed(lambda t: texture(1), lambda t: texture(2), 1.0)
    (frame,) = (frame for frame in Choice(every=4).frames(pictures(film)) if frame.cut)
    assert frame.dissolved == pytest.approx(2.0, abs=0.2)
    assert frame.number in (20, 24, 28)
    cut: Film = lambda t: texture(1) if t < 1.95 else texture(2)  # noqa: E731
    (frame,) = (frame for frame in Choice(every=4).frames(pictures(cut)) if frame.cut)
    assert (frame.number, frame.dissolved) == (20, None)
