"""The page in headless Chromium: what a person does with it, and what it never does."""

from __future__ import annotations

import base64
import csv
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ferjax
from ferjax.classifier import EmotionClassifier
from ferjax.faces.results import Table, entry_of
from ferjax.image_files import UInt8Array
from ferjax.web import Runtime, write
from tests.chromium import launch
from tests.networks import dense_weights, one_dense

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "astronaut.jpg"
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
SECONDS = 30_000  # milliseconds that anything may take on a busy machine
FACES = "#faces h3"


class Opened:
    """A page that is open, and what it asked for."""

    def __init__(self, context: Any, address: str) -> None:
        self.address = address
        self.requests: list[str] = []
        self.errors: list[str] = []
        context.set_default_timeout(SECONDS)
        context.on("request", lambda request: self.requests.append(request.url))
        self.tab = context.new_page()
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", self._note)
        self.tab.goto(address)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def wait_until_ready(self) -> None:
        self.tab.wait_for_selector("html[data-ready]", state="attached")

    @property
    def faces(self) -> list[str]:
        """The headings of the faces beside the picture."""
        return [text.replace("\u00a0", " ") for text in self.tab.locator(FACES).all_inner_texts()]

    def choose(self, selector: str, *files: Any) -> None:
        with self.tab.expect_file_chooser() as chooser:
            self.tab.click(selector)
        chooser.value.set_files(list(files))

    def photographs(self, *files: Any) -> None:
        self.choose("#choose-photographs", *files)

    def said(self) -> str:
        return str(self.tab.inner_text("#messages")).replace("\u00a0", " ")

    def wait_for(self, condition: str) -> None:
        """Wait until JavaScript is true in the page, whose policy forbids Playwright's own way."""
        end = time.monotonic() + SECONDS / 1000
        while not self.tab.evaluate(condition):
            assert time.monotonic() < end, condition
            self.tab.wait_for_timeout(50)

    def table(self) -> list[dict[str, str]]:
        with self.tab.expect_download() as download:
            self.tab.click("#download-csv")
        text = Path(download.value.path()).read_text(encoding="utf-8")
        return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


Open = Callable[..., Opened]


@pytest.fixture
def open_page(browser: Any, site: str) -> Iterator[Open]:
    """Open the page; at the end it has asked no other host, stored nothing, and met no error."""
    contexts = []
    pages: list[Opened] = []

    def open_in(chromium: Any = browser, *, address: str = site, **options: Any) -> Opened:
        contexts.append(chromium.new_context(**options))
        pages.append(Opened(contexts[-1], address))
        pages[-1].wait_until_ready()
        return pages[-1]

    yield open_in
    stored = """async () => [document.cookie, localStorage.length, sessionStorage.length,
        (await indexedDB.databases()).length, (await caches.keys()).length,
        (await navigator.serviceWorker.getRegistrations()).length]"""
    for context, page in zip(contexts, pages):
        assert page.tab.evaluate(stored) == ["", 0, 0, 0, 0, 0]
        assert page.requests
        own = (page.address, "blob:", "data:")
        other = [url for url in page.requests if not url.startswith(own)]
        assert not other
        assert not page.errors
        context.close()


@pytest.fixture
def page(open_page: Open) -> Opened:
    return open_page()


def file_of(name: str, kind: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": content}


def picture(image: UInt8Array, kind: str = ".png") -> bytes:
    return cv2.imencode(kind, image)[1].tobytes()


def frame(shift: int = 0, *, face: bool = True) -> UInt8Array:
    """A frame of 640x480, BGR, with the astronaut in it."""
    canvas = np.full((480, 640, 3), (120, 110, 100), np.uint8)
    if face:
        canvas[20:460, 80 + shift : 520 + shift] = cv2.resize(cv2.imread(str(SAMPLE)), (440, 440))
    return canvas


# --- photographs ---------------------------------------------------------------------------------


def test_the_sample_is_what_python_says_and_its_table_is_ferjaxs(
    page: Opened, classifier: EmotionClassifier, tmp_path: Path
):
    page.tab.click("#try-sample")
    page.tab.wait_for_selector(FACES)
    assert page.faces == ["happy 99.2 %"]
    assert page.tab.inner_text("#announcer").replace("\u00a0", " ") == (
        "astronaut.jpg: 1 face. Face 1: happy, 99 %."
    )
    assert "happy" in page.tab.get_attribute("#canvas", "aria-label")
    (row,) = page.table()
    entry = entry_of("astronaut.jpg", photograph(classifier))
    table = Table(str(tmp_path / "faces.csv"), classifier.labels, ascii_only=True)
    table.add(entry)
    table.close()
    text = (tmp_path / "faces.csv").read_text(encoding="utf-8")
    (expected,) = csv.DictReader(io.StringIO(text))
    assert list(row) == list(expected)
    for name, value in expected.items():
        if name in ("path", "face", "too_small", "label", "error"):
            assert row[name] == value
        else:
            near = 1e-3 if name in classifier.labels or name == "confidence" else 0.5
            assert float(row[name]) == pytest.approx(float(value), abs=near), name


def photograph(classifier: EmotionClassifier) -> Any:
    from ferjax.faces.face import Photograph

    faces = classifier.analyze(SAMPLE)
    return Photograph(source=SAMPLE, faces=faces, shape=(512, 512))


def test_several_files_are_looked_at_and_each_can_be_shown(page: Opened):
    blank = picture(np.full((90, 120, 3), 200, np.uint8))
    page.photographs(
        SAMPLE_FILE,
        file_of("blank.png", "image/png", blank),
        file_of("=sum.png", "image/png", blank),
    )
    page.wait_for("document.querySelectorAll('#table tbody tr').length === 3")
    page.wait_for("document.querySelector('#photographs-status').textContent.includes('1 face')")
    assert page.tab.locator("#strip button").all_inner_texts() == [
        "astronaut.jpg\n1 face",
        "blank.png\n0 faces",
        "=sum.png\n0 faces",
    ]
    assert page.faces == ["happy 99.2 %"]  # the first stays
    page.tab.locator("#strip button").nth(1).press("Enter")
    page.wait_for("document.querySelector('#no-faces').textContent === 'No face is seen.'")
    assert page.faces == []
    rows = page.table()
    assert [(row["path"], row["face"]) for row in rows] == [
        ("astronaut.jpg", "1"),
        ("blank.png", "0"),
        ("./=sum.png", "0"),
    ]
    page.tab.click("#clear-photographs")
    assert page.tab.is_visible("#try-sample")
    assert not page.tab.is_visible("#table-part")


SAMPLE_FILE = file_of("astronaut.jpg", "image/jpeg", SAMPLE.read_bytes())

FILES = """([kind, target, file]) => {
    const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "given.jpg", {type: "image/jpeg"}));
    const options = {bubbles: true, cancelable: true};
    const event = kind === "paste"
        ? new ClipboardEvent(kind, {...options, clipboardData: data})
        : new DragEvent(kind, {...options, dataTransfer: data});
    return document.querySelector(target).dispatchEvent(event);
}"""


def test_a_picture_may_be_dropped_or_pasted(page: Opened):
    encoded = base64.b64encode(SAMPLE.read_bytes()).decode()
    page.tab.evaluate(FILES, ["dragenter", "#stage", encoded])
    assert page.tab.locator("#stage.dropping").count() == 1
    assert not page.tab.evaluate(FILES, ["drop", "#stage", encoded])  # the page stays
    page.tab.wait_for_selector(FACES)
    assert page.tab.locator("#stage.dropping").count() == 0
    page.tab.click("#clear-photographs")
    page.tab.click("[data-mode=camera]")
    assert not page.tab.evaluate(FILES, ["paste", "body", encoded])
    page.tab.wait_for_selector(FACES)
    assert page.faces == ["happy 99.2 %"]
    assert page.tab.get_attribute("[data-mode=photographs]", "aria-pressed") == "true"


def test_a_wrong_file_is_told_and_the_next_is_looked_at(page: Opened):
    page.photographs(
        file_of("notes.txt", "text/plain", b"no picture"),
        file_of("cut.jpg", "image/jpeg", SAMPLE.read_bytes()[:300]),
        file_of("empty.png", "image/png", b""),
        SAMPLE_FILE,
    )
    page.tab.wait_for_selector(FACES)
    assert page.faces == ["happy 99.2 %"]
    page.wait_for("document.querySelectorAll('.message').length === 3")
    for name in ("notes.txt", "cut.jpg", "empty.png"):
        assert f"{name}: " in page.said()
    rows = page.table()
    assert [bool(row["error"]) for row in rows] == [True, True, True, False]
    page.tab.locator(".message button").first.press("Enter")
    assert page.tab.locator(".message").count() == 2


def test_a_picture_of_too_many_pixels_is_told(page: Opened):
    # 20,000 x 10,000 of one bit: a small file, 200 million pixels.
    page.photographs(file_of("huge.png", "image/png", huge(20_000, 10_000)))
    page.tab.wait_for_selector(".message")
    assert "huge.png: " in page.said()
    page.choose("#more-photographs", SAMPLE_FILE)
    page.tab.wait_for_selector(FACES)


def huge(width: int, height: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG", optimize=False)
    return file.getvalue()


def test_a_webp_is_shown_as_its_exif_turns_it(page: Opened):
    from PIL import Image

    colours = np.zeros((100, 200, 3), np.uint8)
    colours[:, :100, 0] = colours[:, 100:, 2] = 255  # red at the left, blue at the right
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: red at the top
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "WEBP", lossless=True, exif=exif)
    page.photographs(file_of("turned.webp", "image/webp", file.getvalue()))
    page.wait_for("document.querySelectorAll('#table tbody tr').length === 1")  # once it is shown
    seen = page.tab.evaluate(
        """() => ["#canvas", "#strip canvas"].flatMap((name) => [0.25, 0.75].map((down) => {
            const canvas = document.querySelector(name);
            const [x, y] = [canvas.width / 2, canvas.height * down].map(Math.round);
            const copy = new OffscreenCanvas(1, 1);
            const context = copy.getContext("2d", {willReadFrequently: true});
            context.drawImage(canvas, -x, -y);
            return [...context.getImageData(0, 0, 1, 1).data];
        }))"""
    )
    assert seen == [[255, 0, 0, 255], [0, 0, 255, 255]] * 2


def test_a_picture_of_one_row_keeps_no_other_waiting(page: Opened):
    narrow = picture(np.full((1, 4000, 3), 90, np.uint8))
    page.photographs(file_of("narrow.png", "image/png", narrow), SAMPLE_FILE)
    page.wait_for("document.querySelectorAll('#strip button')[1].innerText.includes('1 face')")
    assert page.said() == ""
    page.tab.locator("#strip button").nth(1).click()
    page.tab.wait_for_selector(FACES)


def test_a_picture_that_can_no_longer_be_shown_is_told(page: Opened):
    page.photographs(SAMPLE_FILE, file_of("moved.jpg", "image/jpeg", SAMPLE.read_bytes()))
    page.wait_for("document.querySelectorAll('#strip button')[1].innerText.includes('1 face')")
    page.tab.evaluate(
        "() => { window.createImageBitmap = () => Promise.reject(new Error('moved')); }"
    )
    page.tab.locator("#strip button").nth(1).click()
    page.tab.wait_for_selector(".message")
    assert page.said().startswith("moved.jpg: it can no longer be shown")
    page.errors.clear()


# --- controls ------------------------------------------------------------------------------------


def test_controls_act_as_python_does_without_the_network(
    page: Opened, classifier: EmotionClassifier
):
    page.tab.click("#try-sample")
    page.tab.wait_for_selector(FACES)
    page.tab.evaluate(
        "() => { Worker.prototype.postMessage = () => { throw new Error('not without it'); }; }"
    )

    def shares() -> list[float]:
        (row,) = page.table()
        return [float(row[label]) for label in classifier.labels]

    def python(**options: Any) -> list[float]:
        (face,) = classifier.analyze(SAMPLE, **options)
        return list(face.probabilities.values())

    page.tab.check("#calibrated")
    assert shares() == pytest.approx(python(calibrated=True), abs=1e-3)
    page.tab.check("[name=prior][value=uniform]")
    assert shares() == pytest.approx(python(prior="uniform"), abs=1e-3)
    page.tab.check("[name=prior][value=own]")
    fields = page.tab.locator("#own-numbers input")
    own = dict(zip(classifier.labels, (40, 10, 10, 1, 9, 20, 10)))
    for index, value in enumerate(own.values()):
        fields.nth(index).fill(str(value))
    assert shares() == pytest.approx(python(prior=own), abs=1e-3)
    before = shares()
    fields.nth(1).fill("0")
    assert page.tab.inner_text("#prior-problem") == (
        "disgust needs a number above 0; until then nothing changes."
    )
    assert shares() == before
    page.tab.click("#reset-controls")
    assert page.faces == ["happy 99.2 %"]
    page.tab.locator("#abstain-below").fill("1")
    assert page.faces == ["no label (perhaps happy) 99.2 %"]
    assert page.table()[0]["label"] == ""


def test_a_higher_score_leaves_faces_out_and_a_lower_one_finds_them_again(page: Opened):
    page.tab.click("#try-sample")
    page.tab.wait_for_selector(FACES)
    page.tab.locator("#min-score").fill("0.99")
    page.wait_for("!document.querySelector('#faces h3')")
    page.tab.locator("#min-score").fill("0.5")
    page.tab.wait_for_selector(FACES)
    assert page.faces == ["happy 99.2 %"]


# --- the camera ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def camera(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium whose camera shows a film."""
    film = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    film.write_bytes(b"".join(picture(frame(10 * abs(i - 8)), ".jpg") for i in range(16)))
    chromium = launch(
        browser.browser_type,
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    )
    yield chromium
    chromium.close()


def test_the_camera_is_looked_at_and_recorded(open_page: Open, camera: Any):
    page = open_page(camera, permissions=["camera"])
    page.tab.click("[data-mode=camera]")
    page.tab.click("#start-camera")
    page.tab.wait_for_selector(FACES)
    page.wait_for("document.querySelector('#table tbody tr td:nth-child(4)')?.innerText > 4")
    assert page.faces[0].startswith("happy ")
    assert "mostly happy" in page.tab.get_attribute("#timeline", "aria-label")
    assert "640 \u00d7 480" in page.tab.inner_text("#camera-status")
    page.tab.uncheck("#camera-mirror")
    page.tab.click("#stop-camera")
    assert page.tab.evaluate("document.querySelector('#canvas').hidden")
    rows = page.table()
    assert list(rows[0])[:4] == ["time", "frame", "track", "x"]
    assert {row["label"] for row in rows} == {"happy"}
    assert {row["track"] for row in rows} == {"1"}
    times = [float(row["time"]) for row in rows]
    assert times == sorted(times) and times[-1] > times[0]
    assert 220 < float(rows[0]["x"]) < 330  # the face is at 234 to 304
    page.tab.click("#start-camera")  # a second time
    page.tab.wait_for_selector(FACES)
    page.tab.click("[data-mode=photographs]")  # leaving gives the camera back
    assert page.tab.is_visible("#try-sample")


def test_a_camera_that_is_denied_is_told(open_page: Open, camera: Any):
    page = open_page(camera, permissions=[])
    page.tab.click("[data-mode=camera]")
    page.tab.click("#start-camera")
    page.tab.wait_for_selector(".message")
    assert page.said().startswith("The camera may not be used: permission was denied.")
    assert page.tab.is_enabled("#start-camera")
    page.tab.click("[data-mode=photographs]")
    assert page.said() == ""
    page.tab.click("#try-sample")
    page.tab.wait_for_selector(FACES)


def test_a_missing_camera_is_told(open_page: Open):
    page = open_page(permissions=["camera"])
    page.tab.click("[data-mode=camera]")
    page.tab.click("#start-camera")
    page.tab.wait_for_selector(".message")
    assert page.said().startswith("There is no camera on this device")


def test_a_camera_that_is_unplugged_is_told(open_page: Open, camera: Any):
    page = open_page(camera, permissions=["camera"])
    page.tab.evaluate(
        """() => {
            const devices = navigator.mediaDevices;
            const ask = devices.getUserMedia.bind(devices);
            devices.getUserMedia = async (options) => (window.stream = await ask(options));
        }"""
    )
    page.tab.click("[data-mode=camera]")
    page.tab.click("#start-camera")
    page.tab.wait_for_selector(FACES)
    page.tab.evaluate("window.stream.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
    page.tab.wait_for_selector(".message")
    assert page.said().startswith("The camera has stopped")
    assert page.tab.is_visible("#start-camera")


def test_a_camera_takes_a_secure_address(open_page: Open):
    page = open_page()
    page.tab.evaluate(
        "() => { Object.defineProperty(navigator, 'mediaDevices', {value: undefined}); }"
    )
    page.tab.click("[data-mode=camera]")
    page.tab.click("#start-camera")
    assert page.said().startswith("The camera needs an address that begins with https://")


# --- video ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.2 seconds, of which the middle shows no face."""
    path = tmp_path_factory.mktemp("video") / "a film.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 10, (640, 480))
    for number in range(12):
        writer.write(frame(4 * number, face=not 4 <= number < 8))
    writer.release()
    return path


def test_a_video_is_looked_at_and_played(page: Opened, film: Path):
    page.tab.click("[data-mode=video]")
    page.choose("#choose-video", film)
    page.tab.wait_for_selector("#play-video")
    assert page.tab.inner_text("#video-status") == "12 frames looked at"
    words = page.tab.get_attribute("#timeline", "aria-label").replace("\u00a0", " ")
    assert words == (
        "1 face over time. Face 1, 0:00.0 to 0:01.1: mostly happy (100.0 % of the frames)."
    )
    rows = page.table()
    assert [round(float(row["time"]), 3) for row in rows] == [0, 0.1, 0.2, 0.3, 0.8, 0.9, 1.0, 1.1]
    assert {(row["track"], row["label"]) for row in rows} == {("1", "happy")}
    assert float(rows[-1]["x"]) - float(rows[0]["x"]) == pytest.approx(44, abs=4)
    page.tab.locator("#video-time").fill("0.5")
    page.wait_for("document.querySelector('#no-faces').textContent === 'No face is seen.'")
    page.tab.locator("#video-time").fill("1")
    page.tab.wait_for_selector(FACES)
    page.tab.check("[name=prior][value=uniform]")
    assert page.faces[0].startswith("happy ")
    page.tab.locator("#video-time").fill("0")
    page.tab.locator("#play-video").press("Enter")
    page.wait_for("document.querySelector('#video-time').valueAsNumber > 0.3")
    page.tab.click("[data-mode=photographs]")
    page.tab.click("[data-mode=video]")
    assert page.tab.is_visible("#timeline-part")


def test_what_a_recording_keeps_is_limited_also_without_faces(page: Opened):
    kept, said = page.tab.evaluate(
        """async (address) => {
            const { Recording } = await import(address);
            const recording = new Recording();
            for (let frame = 0; frame < 60_001; frame++) recording.add(frame / 30, []);
            return [recording.frames.length, recording.lacking()];
        }""",
        f"{page.address}ui/recording.js",
    )
    assert kept == 60_001 - 6_001
    assert said == " The first 6,001 frames are no longer kept."


def test_a_wrong_video_is_told(page: Opened):
    page.tab.click("[data-mode=video]")
    page.choose("#choose-video", file_of("song.webm", "video/webm", b"no film"))
    page.tab.wait_for_selector(".message")
    assert page.said().startswith("song.webm: this browser cannot play it as a video.")
    assert page.tab.is_visible("#choose-video")


def test_a_video_is_stopped(page: Opened, film: Path):
    page.tab.click("[data-mode=video]")
    page.choose("#choose-video", film)
    page.wait_for("document.querySelector('#video-status').textContent.includes(' of ')")
    page.tab.click("#stop-video")
    page.tab.wait_for_selector("#play-video")
    assert len(page.table()) < 8


# --- what it never does --------------------------------------------------------------------------


def test_it_works_without_a_connection_once_it_is_loaded(open_page: Open, film: Path):
    page = open_page()
    page.tab.context.set_offline(True)
    count = len(page.requests)
    page.tab.click("#try-sample")
    page.tab.wait_for_selector(FACES)
    page.tab.click("[data-mode=video]")
    page.choose("#choose-video", film)
    page.tab.wait_for_selector("#play-video")
    page.tab.click("#open-card")
    assert page.tab.is_visible("#card")
    assert all(url.startswith("blob:") for url in page.requests[count:])


def test_nothing_of_another_host_can_be_had(browser: Any, site: str):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(site)
    blocked = """async (address) => {
        const violation = new Promise((resolve) => addEventListener(
            "securitypolicyviolation", (event) => resolve(event.effectiveDirective), {once: true}));
        const failed = await fetch(address).then(() => false, () => true);
        return [failed, await violation];
    }"""
    # Another port is another origin.
    assert tab.evaluate(blocked, "http://127.0.0.1:9/") == [True, "connect-src"]
    assert tab.evaluate("crossOriginIsolated")
    context.close()


def test_a_file_that_is_dropped_while_the_networks_are_loaded_is_told(browser: Any, site: str):
    context = browser.new_context()
    tab = context.new_page()
    context.route("**/network.onnx", lambda route: None)  # which never comes
    tab.goto(site)
    tab.wait_for_selector("#app", timeout=SECONDS)
    encoded = base64.b64encode(SAMPLE.read_bytes()).decode()
    assert not tab.evaluate(FILES, ["drop", "#stage", encoded])  # the page stays
    tab.wait_for_selector(".message", timeout=SECONDS)
    assert "The networks are still loaded" in tab.inner_text("#messages")
    context.close()


def test_weights_that_do_not_load_are_told(browser: Any, site: str):
    context = browser.new_context()
    tab = context.new_page()
    context.route("**/network.onnx", lambda route: route.fulfill(status=404))
    tab.goto(site)
    tab.wait_for_selector(".message", timeout=SECONDS)
    assert "network.onnx cannot be loaded: status 404." in tab.inner_text("#messages")
    assert tab.is_disabled("#try-sample")
    assert tab.is_enabled("#open-card")
    context.close()


def test_weights_that_are_damaged_are_told(browser: Any, site: str):
    context = browser.new_context()
    tab = context.new_page()
    context.route("**/network.onnx", lambda route: route.fulfill(body=b"no network"))
    tab.goto(site)
    tab.wait_for_selector(".message", timeout=SECONDS)
    assert not tab.is_visible("#loading")
    context.close()


def test_a_browser_without_simd_is_told(browser: Any, site: str):
    context = browser.new_context()
    context.add_init_script("WebAssembly.validate = () => false")
    tab = context.new_page()
    tab.goto(site)
    tab.wait_for_selector(".message", timeout=SECONDS)
    assert tab.inner_text(".message span").startswith("This browser's WebAssembly has no SIMD")
    context.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_page_that_cannot_start_says_what_to_do(browser: Any, tmp_path: Path, scripts: bool):
    from ferjax.web.site import page_files

    for name, content in page_files():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    context = browser.new_context(java_script_enabled=scripts)
    tab = context.new_page()
    tab.goto((tmp_path / "index.html").as_uri())
    tab.wait_for_selector("#not-started", timeout=SECONDS)
    tab.wait_for_timeout(2500)
    assert tab.is_visible("text=python3 -m http.server")
    assert tab.is_visible("#not-started noscript p") is not scripts
    context.close()


# --- other weights and other servers -------------------------------------------------------------


class Plain(SimpleHTTPRequestHandler):
    """Python's own server, without any header of ours."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def plainly_served(folder: Path) -> Iterator[str]:
    handler = partial(Plain, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


LABELS = ["<b>bold</b>", "=1+1", "a very long name of a class that fits nowhere", "score", "e"]


def test_outputs_that_need_not_sum_to_1_stay_as_they_are_under_a_prior(
    open_page: Open, runtime: Runtime, tmp_path: Path
):
    network, variables = one_dense(2, "sigmoid"), dense_weights(np.zeros((1, 2)), [2.0, 3.0])
    frequencies = [0.5, 0.5]
    classifier = EmotionClassifier(
        network, variables, ["calm", "tense"], training_frequencies=frequencies
    )
    write(classifier, tmp_path / "page", runtime=runtime)
    with plainly_served(tmp_path / "page") as server:
        page = open_page(address=server)
        page.tab.click("#try-sample")
        page.tab.wait_for_selector(FACES)
        assert page.faces == ["tense 95.3 %"]
        page.tab.check("[value=uniform]")
        assert page.said().startswith("Expected outputs that sum to 1")
        assert page.faces == ["tense 95.3 %"]


def test_other_weights_on_any_server_below_any_path(
    open_page: Open, runtime: Runtime, tmp_path: Path
):
    network = one_dense(5, "sigmoid", shape=(20, 30, 3))
    variables = dense_weights(np.random.default_rng(0).normal(0, 0.02, (1800, 5)))
    classifier = EmotionClassifier(network, variables, LABELS, value_range=(-1, 1))
    write(classifier, tmp_path / "some" / "path", runtime=runtime, title="<i>Mine</i>")
    with plainly_served(tmp_path) as server:
        page = open_page(address=f"{server}some/path/", viewport={"width": 360, "height": 700})
        assert page.tab.inner_text("h1") == "<i>Mine</i>"
        assert not page.tab.evaluate("crossOriginIsolated")
        page.tab.click("#try-sample")
        page.tab.wait_for_selector(FACES)
        (face,) = classifier.analyze(SAMPLE)
        (row,) = page.table()
        names = ["p_<b>bold</b>", "p_=1+1", f"p_{LABELS[2]}", "p_score", "p_e"]
        shares = [float(row[name]) for name in names]
        assert shares == pytest.approx(list(face.probabilities.values()), abs=1e-3)
        assert page.tab.locator(".bars .name").all_inner_texts() == LABELS
        assert page.tab.locator("b, i").count() == 0
        assert page.tab.is_disabled("[value=uniform]")
        assert page.tab.is_disabled("#calibrated")
        assert "do not say how common" in page.tab.inner_text("#prior-problem")
        assert page.tab.evaluate("document.documentElement.scrollWidth") == 360
        page.tab.click("#open-card")
        assert "Not measured" in page.tab.inner_text("#card-content")
        assert page.tab.evaluate("document.documentElement.scrollWidth") == 360


# --- for everybody -------------------------------------------------------------------------------


def test_all_can_be_done_by_keyboard(page: Opened):
    tab = page.tab
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    reached = []
    for _ in range(30):
        tab.keyboard.press("Tab")
        reached.append(
            tab.evaluate(
                "(document.activeElement.id || document.activeElement.dataset.mode"
                " || document.activeElement.name || document.activeElement.textContent).trim()"
            )
        )
        visible = "getComputedStyle(document.activeElement).outlineStyle"
        assert tab.evaluate(visible) != "none"
        if reached[-1] == "reset-controls":
            break
    assert reached == [
        *("Intended use", "photographs", "camera", "video", "choose-photographs", "try-sample"),
        *("prior", "calibrated", "abstain-below", "min-score", "reset-controls"),
    ]
    tab.focus("#try-sample")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(FACES)
    tab.focus("#open-card")
    tab.keyboard.press("Enter")
    assert tab.is_visible("#card-content")
    assert "86.6" in tab.inner_text("#card-content")
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#card-content")
    assert tab.evaluate("document.activeElement.id") == "open-card"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1024])
def test_axe_finds_no_violation(open_page: Open, film: Path, scheme: str, width: int):
    if not AXE.is_file():
        pytest.skip("needs axe-core: npm ci in tests/web")
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme)

    def check() -> None:
        page.tab.evaluate(AXE.read_text(encoding="utf-8"))
        results = page.tab.evaluate("axe.run()")
        problems = [
            (violation["id"], node["html"][:200], node["failureSummary"])
            for violation in results["violations"]
            for node in violation["nodes"]
        ]
        assert not problems, json.dumps(problems, indent=2)
        wide = page.tab.evaluate("document.documentElement.scrollWidth")
        assert wide <= width  # nothing to scroll sideways

    check()
    blank = file_of("blank.png", "image/png", picture(frame(face=False)))
    page.photographs(SAMPLE_FILE, blank, file_of("x.txt", "text/plain", b""))
    page.wait_for("document.querySelectorAll('#table tbody tr').length === 3")
    page.tab.check("[name=prior][value=own]")
    check()
    page.tab.click("#open-card")
    check()
    page.tab.click("#close-card")
    page.tab.click("[data-mode=video]")
    page.choose("#choose-video", film)
    page.tab.wait_for_selector("#play-video")
    check()
    page.tab.click("[data-mode=camera]")
    check()


def test_versions_are_told(page: Opened):
    assert page.tab.inner_text("#version") == f"ferjax {ferjax.__version__}"
    assert "fer_cnn8" in page.tab.inner_text("#weights-name")
