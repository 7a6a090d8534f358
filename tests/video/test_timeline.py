"""Timelines and annotated frames: colours where probabilities are, names, places of plates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferjax.errors import FerjaxError
from ferjax.faces.detection import Detection
from ferjax.faces.marks import colour_of
from ferjax.video.events import Event
from ferjax.video.painting import Painter
from ferjax.video.seen import VideoFace, VideoFrame
from ferjax.video.timeline import Timeline, packed, plot

LABELS = ["happy", "sad"]


def face(track: int, x: float, y: float, share: float = 0.75, side: float = 60.0) -> VideoFace:
    shares = {"happy": share, "sad": 1 - share}
    label = max(shares, key=lambda name: shares[name])
    return VideoFace(
        box=(x, y, side, side),
        score=0.9,
        label=label,
        index=LABELS.index(label),
        confidence=max(shares.values()),
        probabilities=shares,
        track=track,
        raw=shares,
    )


def frame(*faces: VideoFace, time: float = 0.0, unseen: Any = ()) -> VideoFrame:
    image = np.full((240, 320, 3), 128, np.uint8)
    image[::7] = 90
    return VideoFrame(
        number=0,
        time=time,
        faces=list(faces),
        shape=(240, 320),
        live=[f.track for f in faces],
        unseen=unseen,
        image=image,
    )


# --- timelines -----------------------------------------------------------------------------------


def event(track: int, label: str, start: float, end: float) -> Event:
    return Event(track=track, label=label, start=start, end=end, confidence=0.9, frames=10)


def texts_of(figure: Any) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_short_film_is_one_line_with_its_probabilities() -> None:
    timeline = Timeline(LABELS)
    for i in range(100):
        timeline.add(i / 10, 1, (0.75, 0.25) if i < 50 else (0.0, 1.0))
    figure = timeline.drawn([event(1, "happy", 0, 5), event(1, "sad", 5, 10)], title="a.mp4")
    (axes,) = figure.axes
    assert axes.get_xlim() == pytest.approx((0, 9.9))
    assert texts_of(figure) == ["1", "happy", "sad"] or set(texts_of(figure)) == {
        "1",
        "happy",
        "sad",
    }
    (image,) = axes.images
    band = image.get_array()
    first = band[:, 100]  # from the top down: what is stacked last
    sad = (first == colour_of("sad", LABELS)).all(axis=1)
    assert sad.mean() == pytest.approx(0.25, abs=0.03)
    assert sad[:10].all()
    assert (band[:, 700] == colour_of("sad", LABELS)).all()
    assert figure.texts[0].get_text() == "a.mp4: 1 track"


def test_a_face_without_a_number_has_a_band_without_a_colour() -> None:
    timeline = Timeline(LABELS)
    for i in range(10):
        timeline.add(i / 10, 1, (np.nan, np.nan))
    assert (timeline.drawn([]).axes[0].images[0].get_array() == 255).all()


def test_letters_that_the_font_lacks_are_told_once(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match="letters that matplotlib's font lacks: \u8868, \u793a"
    ) as told:
        Timeline(LABELS).save(str(tmp_path / "a.png"), [], title="\u8868\u793a.mp4")
    assert len(told) == 1


def test_nothing_is_drawn_where_a_face_is_not_seen() -> None:
    timeline = Timeline(LABELS)
    for i in range(100):
        if not 40 <= i < 60:
            timeline.add(i / 10, 1, (1.0, 0.0))
    band = timeline.drawn([]).axes[0].images[0].get_array()
    white = (band == 255).all(axis=(0, 2))
    assert 0.15 < white.mean() < 0.25
    assert white[390:520].all()


def test_two_hours_are_eight_lines_and_tracks_share_rows() -> None:
    timeline = Timeline(LABELS)
    for i in range(7200):
        if i % 600 < 570:
            timeline.add(float(i), 1 + i // 600, (0.5, 0.5))
    figure = timeline.drawn([event(3, "happy", 1200, 1500)])
    assert len(figure.axes) == 8
    assert [axes.get_xlim() for axes in figure.axes][1] == (900, 1800)
    assert [axes.get_ylim()[1] for axes in figure.axes] == [1] * 8
    assert "happy" in texts_of(figure)
    ticks = figure.axes[1].xaxis.get_major_formatter()
    assert [ticks(value, 0) for value in (900, 1500)] == ["15:00", "25:00"]


def test_faces_at_once_have_rows_of_their_own() -> None:
    spans = dict.fromkeys(range(1, 11), (0.0, 10.0))
    rows, left_out = packed(spans, 0.1)
    assert rows == [[track] for track in range(1, 9)]
    assert left_out == 2


def test_a_film_without_a_face(tmp_path: Path) -> None:
    events = plot([frame(time=0.0), frame(time=1.0)], tmp_path / "a.png")
    assert events == []
    assert (tmp_path / "a.png").stat().st_size > 1000
    figure = Timeline(LABELS).drawn([])
    assert texts_of(figure) == ["no face"]


def test_plot_gives_the_events_and_formats_by_name(tmp_path: Path) -> None:
    frames = [frame(face(1, 50, 50), time=i / 10) for i in range(10)]
    for name, begin in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        (found,) = plot(iter(frames), tmp_path / name, title="$x_1$ & <b>")
        assert (found.label, found.start, found.end) == ("happy", 0.0, 1.0)
        assert (tmp_path / name).read_bytes().startswith(begin)
    with pytest.raises(FerjaxError, match=r"expected a name that ends in \.png, .*, got .*a\.txt"):
        plot(frames, tmp_path / "a.txt")


# --- annotated frames ----------------------------------------------------------------------------


def changed(painter: Painter, seen: VideoFrame) -> np.ndarray:
    assert seen.image is not None
    before = seen.image.copy()
    drawn = painter.painted(seen)
    assert np.array_equal(seen.image, before)  # a copy
    assert drawn.shape == before.shape
    return np.asarray((drawn != before).any(axis=2))


def test_a_box_a_plate_beside_it_and_the_time() -> None:
    mask = changed(Painter(), frame(face(1, 100, 100)))
    assert not mask[104:156, 104:156].any()  # the face stays free
    assert mask[98, 100:160].all()
    assert mask[100:130, 170:200].mean() > 0.9  # the plate, on the right
    assert mask[-10:, :20].mean() > 0.9  # the time, at the lower left


def test_a_plate_stays_on_its_side_as_long_as_there_is_room() -> None:
    painter = Painter()

    def side(x: float) -> str:
        mask = changed(painter, frame(face(1, x, 100)))
        left = mask[110:130, round(x) - 40 : round(x) - 20].mean()
        return "left" if left > 0.5 else "right"

    assert side(100) == "right"
    assert side(255) == "left"
    assert side(120) == "left"  # where both have room
    assert changed(Painter(), frame(face(1, 120, 100)))[110:140, 190:210].mean() > 0.5


def test_no_plate_covers_a_face() -> None:
    faces = [face(i + 1, x, 90) for i, x in enumerate((10, 90, 170, 250))]
    mask = changed(Painter(), frame(*faces))
    for other in faces:
        x, y, width, height = (round(v) for v in other.box)
        assert not mask[y + 4 : y + height - 4, x + 4 : x + width - 4].any()


def test_a_face_that_is_expected_and_not_seen_is_pixelated_too() -> None:
    seen = frame(unseen=[Detection(box=(100, 100, 60, 60))])
    assert changed(Painter(anonymise=True), seen)[110:150, 110:150].any()
    assert not changed(Painter(), seen)[90:170, 90:170].any()
