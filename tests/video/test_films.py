"""Films: exact times, which frames are looked at, turned and stretched pictures, and bad files."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ferjax.errors import FerjaxError, ImageError, VideoError
from ferjax.video.films import Film
from ferjax.video.pictures import Choice, Frame, Given
from ferjax.video.sources import opened

from .films import damage, levels, packets, write_film


def frames_of(source: Any, **choice: Any) -> tuple[list[Frame], list[str]]:
    """Return the frames that are looked at, and what is said of problems."""
    film = opened(source)
    try:
        return list(Choice(**choice).frames(film)), film.problems.lines("film")
    finally:
        film.close()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames at 25 frames/s."""
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4", levels(40), rate=25)


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "mpeg4"), ("a.avi", "mjpeg"), ("a.webm", "libvpx-vp9")],
)
def test_times_at_a_constant_rate(tmp_path: Path, name: str, codec: str) -> None:
    frames, problems = frames_of(write_film(tmp_path / name, levels(12), rate=25, codec=codec))
    assert [frame.number for frame in frames] == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(12)], abs=6e-4)
    assert problems == []
    means = [frame.image[24:, 24:].mean() for frame in frames]
    assert means == sorted(means)


def test_times_at_a_variable_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.05, 0.5, 0.533, 0.567, 2.0, 2.001, 7.25]
    frames, problems = frames_of(write_film(tmp_path / "a.mp4", levels(9), times=times))
    assert [frame.time for frame in frames] == pytest.approx(times, abs=1e-9)
    assert problems == []


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.avif"])
def test_animated_pictures_are_films(tmp_path: Path, name: str) -> None:
    from PIL import Image, features

    if name == "a.avif" and not features.check("avif"):
        pytest.skip("AVIF in Pillow is missing")
    first, *others = map(Image.fromarray, levels(6))
    lengths = [100, 100, 100, 250, 250, 250]
    first.save(tmp_path / name, save_all=True, append_images=others, duration=lengths)
    frames, problems = frames_of(tmp_path / name)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.55, 0.8])
    assert problems == []


def test_times_count_from_where_the_film_begins(tmp_path: Path) -> None:
    times = [100 + i / 10 for i in range(5)]
    frames, _ = frames_of(write_film(tmp_path / "a.ts", levels(5), times=times))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(5)], abs=1e-4)


def test_a_film_says_how_long_it_is(film: Path) -> None:
    opened_film = Film(film)
    assert opened_film.rate == pytest.approx(25)
    assert opened_film.duration == pytest.approx(1.6)
    assert not opened_film.is_live
    opened_film.close()


def test_an_open_file(film: Path) -> None:
    with open(film, "rb") as file:
        frames, _ = frames_of(file)
    assert len(frames) == 40


def test_a_file_opened_as_text(film: Path) -> None:
    for file in (open(film, encoding="latin-1"), io.StringIO("a")):  # noqa: SIM115
        with file, pytest.raises(VideoError, match=r"expected a film opened in binary mode"):
            Film(file)


# --- which frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"every": 15}, [0, 15, 30]),
        ({"fps": 5}, [0, 5, 10, 15, 20, 25, 30, 35]),
        ({"fps": 10}, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28, 30, 33, 35, 38]),
        ({"fps": 1000}, list(range(40))),
        ({"fps": 1.7e308}, list(range(40))),
        ({"start": 1.0, "every": 6}, [25, 31, 37]),
        ({"end": 0.12}, [0, 1, 2]),
        ({"start": 0.5, "end": 0.6}, [13, 14]),
        ({"start": 99}, []),
        ({"every": 15, "first": 16}, [30]),
    ],
)
def test_which_frames_are_looked_at(
    film: Path, options: dict[str, Any], numbers: list[int]
) -> None:
    frames, _ = frames_of(film, **options)
    assert [frame.number for frame in frames] == numbers
    assert [frame.time for frame in frames] == pytest.approx([n / 25 for n in numbers])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "expected an integer of at least 1 for `every`, got 0"),
        ({"every": True}, "for `every`, got True"),
        ({"fps": 0}, "expected a positive number for `fps`, got 0"),
        ({"fps": float("inf")}, "for `fps`, got inf"),
        ({"fps": 5, "every": 2}, "expected `every` or `fps`, got both"),
        ({"start": -1}, "expected seconds from 0 on for `start`, got -1"),
        ({"start": 5, "end": 5}, "expected seconds after `start`, 5, for `end`, got 5"),
    ],
)
def test_bad_choices(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Choice(**options)


# --- as a viewer shows it ------------------------------------------------------------------------


@pytest.mark.parametrize(("turned", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_turned_film_is_turned_back(tmp_path: Path, turned: int, corner: tuple[int, int]) -> None:
    (frame, *_), _ = frames_of(write_film(tmp_path / "a.mp4", levels(3), turned=turned))
    assert frame.image.shape == ((64, 48, 3) if turned != 180 else (48, 64, 3))
    corners = {(y, x): frame.image[y, x].mean() for y in (0, -1) for x in (0, -1)}
    assert max(corners, key=lambda at: corners[at]) == corner  # where the white one is


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", levels(3), aspect=Fraction(3, 2))
    (frame, *_), _ = frames_of(path)
    assert frame.image.shape == (48, 96, 3)


def test_cuts(tmp_path: Path) -> None:
    from .films import texture

    a, b = texture(1, 64, 48), texture(2, 64, 48)
    brighter = np.clip(a.astype(int) + 60, 0, 255).astype(np.uint8)  # a flash is no cut
    path = write_film(tmp_path / "a.mp4", [a, a, brighter, a, b, b, b, a])
    frames, _ = frames_of(path)
    assert [frame.number for frame in frames if frame.cut] == [4, 7]
    frames, _ = frames_of(path, every=3)  # also where the frame itself is not looked at
    assert [(frame.number, frame.cut) for frame in frames] == [(0, False), (3, False), (6, True)]


# --- what is wrong with a film -------------------------------------------------------------------


def test_damaged_frames_are_skipped_counted_and_named(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", levels(40), rate=25)
    damaged = damage(path, slice(15, 18))
    frames, problems = frames_of(path)
    (line,) = problems
    assert line.startswith("film: 3 damaged frames were skipped, the first at ")
    assert float(line.split()[-2]) == pytest.approx(damaged[0], abs=0.2)
    assert len(frames) == 37
    assert frames[-1].number == 39
    assert frames[-1].time == pytest.approx(39 / 25)


def test_a_film_that_breaks_off(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mkv", levels(60), rate=10, codec="mpeg4")
    whole = path.read_bytes()
    path.write_bytes(whole[: packets(path)[30][0]])
    frames, problems = frames_of(path)
    assert 25 <= len(frames) <= 31
    assert any("where it should go on to 6.00 s; it was cut off" in line for line in problems)


def test_a_film_without_its_index(tmp_path: Path, film: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(film.read_bytes()[:2000])
    with pytest.raises(VideoError, match=r"a\.mp4: is cut off, or no film: the index at the end"):
        Film(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "empty, 0 bytes"),
        ("text.mp4", b"no film\n" * 100, "is no film, or one of a kind that is not read"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nother.ts\n", "is no film"),
        ("list.txt", b"ffconcat version 1.0\nfile other.mp4\n", "is no film"),
        (
            "moves.webp",
            b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02" + bytes(20),
            "is an animated WebP, which is not read; save it as a film, a GIF or an animated PNG",
        ),
        (
            "still.webp",
            b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10" + bytes(20),
            "is an image, no film; `ferjax faces`",
        ),
        ("photo.mp4", b"\xff\xd8\xff\xe0" + bytes(100), "is an image, no film; `ferjax faces`"),
    ],
)
def test_what_is_no_film(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoError, match=f"{name}: {message}") as caught:
        Film(path)
    assert "\n" not in str(caught.value)


def test_paths_without_a_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VideoError, match=r"none\.mp4: no such file"):
        Film(tmp_path / "none.mp4")
    with pytest.raises(VideoError, match="is a folder; give one film"):
        Film(tmp_path)
    with pytest.raises(VideoError, match="expected a path, got an empty string"):
        Film("")
    with pytest.raises(VideoError, match="no such file"):
        Film("a\0b")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoError, match="no such file"):
        Film("concat:a.mp4|b.mp4")  # a name, not a protocol
    with pytest.raises(VideoError, match=r"expected an address that begins with .*, got file://"):
        Film("file:///etc/passwd")


def test_a_film_may_be_called_like_a_protocol(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("concat:a.mp4").write_bytes(film.read_bytes())
    assert len(frames_of("concat:a.mp4")[0]) == 40


def test_sound_without_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="expected a film, got a file without pictures but sound"):
        Film(path)


def test_a_film_without_a_frame_that_can_be_decoded(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", levels(5))
    damage(path, slice(None))
    film = Film(path)
    with pytest.raises(VideoError, match="has no frame that can be decoded: all 5 are damaged"):
        list(film)
    film.close()


def test_an_absurd_rate_is_said(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", levels(5), rate=50_000)
    frames, problems = frames_of(path)
    assert [frame.time for frame in frames] == pytest.approx([i / 50_000 for i in range(5)])
    assert problems == ["film: says that it has 50,000 frames a second; its times may be wrong"]


@pytest.mark.parametrize(
    ("scale", "rate", "step", "said"),
    [
        (1, 0, 0.04, []),  # FFmpeg takes 25 then
        (0, 0, 0.04, []),
        (2**32 - 1, 1, 2147483647, ["4.65661e-10 frames a second"]),
        (1, 2**32 - 1, 1 / 90_000, ["90,000 frames a second"]),
    ],
)
def test_rates_that_make_no_sense(
    tmp_path: Path, scale: int, rate: int, step: float, said: list[str]
) -> None:
    path = write_film(tmp_path / "a.avi", levels(4), rate=25, codec="mjpeg")
    content = bytearray(path.read_bytes())
    at = content.index(b"strh") + 28
    content[at : at + 8] = struct.pack("<II", scale, rate)
    at = content.index(b"avih") + 8  # microseconds for each frame
    content[at : at + 4] = bytes(4)
    path.write_bytes(content)
    frames, problems = frames_of(path)
    assert [frame.time for frame in frames] == pytest.approx([i * step for i in range(4)])
    assert len(problems) == len(said)
    assert all(text in line for text, line in zip(said, problems))


def test_too_many_pixels(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferjax.video.films.MAX_PIXELS", 100)
    with pytest.raises(VideoError, match="expected at most 100 pixels, got 64 x 48"):
        Film(film)


def test_without_pyav(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(FerjaxError, match=r'not installed: pip install "ferjax\[video\]"'):
        Film(film)


# --- a user's own frames -------------------------------------------------------------------------


def times_of(pairs: Any) -> tuple[list[float], list[str]]:
    frames, problems = frames_of(pairs)
    return [frame.time for frame in frames], problems


def test_pairs_of_a_time_and_an_image() -> None:
    images = list(levels(3))
    frames, problems = frames_of(zip((0.5, 1.0, 4.0), images))
    assert [(frame.number, frame.time) for frame in frames] == [(0, 0.5), (1, 1.0), (2, 4.0)]
    assert np.array_equal(frames[1].image, images[1])
    assert problems == []
    again, _ = frames_of(frames)
    assert [(frame.number, frame.time) for frame in again] == [(0, 0.5), (1, 1.0), (2, 4.0)]


def test_an_image_may_be_written_to_again() -> None:
    image = np.zeros((48, 64, 3), np.uint8)

    def filled() -> Iterator[tuple[float, np.ndarray]]:
        for i in range(3):
            image[:] = i
            yield float(i), image

    frames, _ = frames_of(filled())
    assert [frame.image.max() for frame in frames] == [0, 1, 2]


def test_times_that_run_backwards() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    times, problems = times_of([(t, image) for t in (0.0, 0.5, 0.4, 0.5, 1.0)])
    assert times == [0.0, 0.5, 1.0]
    (line,) = problems
    assert line.startswith("film: 2 frames were left out whose time is not after that of the frame")
    assert line.endswith("the first at 0.40 s")
    times, problems = times_of([(t, image) for t in (8.0, 8.5, 0.0, 0.5)])
    assert times == [8.0, 8.5, 9.0, 9.5]  # of another recording
    assert problems == ["film: times began anew 1 times, and are counted on from there"]
    times, _ = times_of([(t, image) for t in (1e17, 0.0, 0.5)])  # a step adds nothing to the first
    assert times == sorted(set(times))
    assert len(times) >= 2


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (
            [np.zeros((8, 8, 3), np.uint8)],
            VideoError,
            r"frame 0: expected a pair \(seconds, image\)",
        ),
        (
            [("x", np.zeros((8, 8, 3)))],
            VideoError,
            "frame 0: expected its time in seconds from 0 on, got 'x'",
        ),
        ([(float("nan"), np.zeros((8, 8, 3)))], VideoError, "frame 0: expected its time"),
        ([(-0.5, np.zeros((8, 8, 3)))], VideoError, r"in seconds from 0 on, got -0\.5"),
        ([(np.zeros((8, 8, 3)), 0)], VideoError, r"from 0 on, got array\(.{1,100}$"),
        ([(0, np.zeros((8, 8, 3))), (1, b"")], ImageError, "frame 1"),
    ],
)
def test_frames_that_are_none(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        list(Given(source))


@pytest.mark.parametrize("source", [b"bytes", {}, 1.5, None, True, np.zeros((8, 8, 3))])
def test_what_no_pictures_come_from(source: Any) -> None:
    with pytest.raises(VideoError, match="expected a path, a stream's address, a camera's number"):
        opened(source)
