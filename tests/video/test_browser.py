"""Annotated films in a browser: Chromium, without a window, by Playwright."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ferjax.faces.detection import Detection
from ferjax.video.seen import VideoFace, VideoFrame
from ferjax.video.webm import Webm

from ..chromium import CHROMIUM, launch

TIMES = [*(i / 20 for i in range(20)), 1.0, 1.4, 1.5, 1.9, 2.0]  # at a rate that varies
_SHOWN = """async ([content, moments]) => {
    const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
    const film = document.createElement("video");
    film.muted = true;
    film.src = URL.createObjectURL(new Blob([bytes], {type: "video/webm"}));
    const next = name => new Promise((done, fail) => {
        film.addEventListener(name, done, {once: true});
        film.addEventListener("error", () => fail(new Error(film.error.message)), {once: true});
    });
    await next("loadeddata");
    const canvas = new OffscreenCanvas(film.videoWidth, film.videoHeight);
    const context = canvas.getContext("2d", {willReadFrequently: true});
    const level = () => {
        context.drawImage(film, 0, 0);
        return context.getImageData(canvas.width - 4, 4, 1, 1).data[1];
    };
    const times = [], levels = [];
    const see = (now, frame) => {
        times.push(frame.mediaTime);
        levels.push(level());
        film.requestVideoFrameCallback(see);
    };
    film.requestVideoFrameCallback(see);
    await Promise.all([next("ended"), film.play()]);
    const played = {times: times.slice(), levels: levels.slice()}, sought = [];
    for (const moment of moments) {
        const presented = new Promise(done => film.requestVideoFrameCallback(done));
        film.currentTime = moment;
        await Promise.all([next("seeked"), presented]);
        sought.push(level());
    }
    return {size: [film.videoWidth, film.videoHeight], duration: film.duration,
            ...played, sought};
}"""


def level(number: int) -> int:
    return 40 + 7 * number


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is missing")
def test_an_annotated_film_plays(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing")
    path = tmp_path / "a.webm"
    webm = Webm(str(path))
    for number, time in enumerate(TIMES):
        webm.add(frame(number, time))
    webm.close()
    content = base64.b64encode(path.read_bytes()).decode()
    with playwright.sync_playwright() as started:
        browser = launch(started.chromium)
        page = browser.new_page()
        shown = page.evaluate(_SHOWN, [content, [1.95, 0.52, 1.2]])
        browser.close()
    assert shown["size"] == [162, 122]
    assert shown["duration"] == pytest.approx(2.0, abs=0.15)
    assert len(shown["times"]) > 10  # a busy machine leaves some out
    assert shown["times"] == sorted(set(shown["times"]))
    numbers = [min(range(25), key=lambda i: abs(TIMES[i] - t)) for t in shown["times"]]
    assert [TIMES[i] for i in numbers] == pytest.approx(shown["times"], abs=2e-3)
    for number, seen in zip(numbers, shown["levels"], strict=True):
        assert level(number) - 3 <= seen <= level(number + 1) + 3  # drawn when the next has come
    assert shown["sought"] == pytest.approx([level(i) for i in (23, 10, 20)], abs=3)


def frame(number: int, time: float) -> VideoFrame:
    """Return a frame of odd sides, of one gray level, every other one with a face at the left."""
    probabilities = {"happy": 0.9, "sad": 0.1}
    face: Any = VideoFace(
        **vars(Detection(box=(10, 30, 30, 40), score=0.9)),
        label="happy",
        index=0,
        confidence=0.9,
        probabilities=probabilities,
        track=1,
        raw=probabilities,
    )
    return VideoFrame(
        number=number,
        time=time,
        faces=[face] if number % 2 else [],
        shape=(121, 161),
        live=[1],
        image=np.full((121, 161, 3), level(number), np.uint8),
    )
