"""What `analysis.js` promises, in Chromium: frames, followed faces, errors, any network."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from ferjax.classifier import EmotionClassifier
from ferjax.faces import Detection
from ferjax.faces.detection import followed
from ferjax.nets import Network
from ferjax.nets.layers import Conv2D, Dense, Flatten
from tests.networks import as_trained, chain

pytestmark = pytest.mark.slow

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"

# What every test begins with: `analysis`, and files of base64 as Blobs.
_SETUP = """async (base) => {
  const { load } = await import(new URL("analysis.js", base).href);
  window.analysis = await load(base);
  window.blob = (text) => new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
  window.bitmap = (text) => createImageBitmap(window.blob(text));
  window.pixels = async (text) => {
    const picture = await window.bitmap(text);
    const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
    context.drawImage(picture, 0, 0);
    return context.getImageData(0, 0, picture.width, picture.height);
  };
}"""


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def portrait(left: int = 120, top: int = 20) -> Image.Image:
    """Return the astronaut's head in a picture of 320 x 240."""
    return Image.open(ASTRONAUT).convert("RGB").crop((left, top, left + 320, top + 240))


@pytest.fixture(scope="module")
def page(browser: Any, site: str) -> Any:
    """A page of the site without its user interface, with `analysis`."""
    page = browser.new_page()
    page.goto(f"{site}settings.json")
    page.evaluate(_SETUP, site)
    return page


def test_frames_show_what_files_show(page: Any):
    file, pixels, bitmap = page.evaluate(
        """async (text) => [
          await window.analysis.analyze(window.blob(text)),
          await window.analysis.analyze(await window.pixels(text)),
          await window.analysis.analyze(await window.bitmap(text)),
        ]""",
        text(png(portrait())),
    )
    assert (file["width"], file["height"], len(file["faces"])) == (320, 240, 1)
    assert file == pixels == bitmap


def test_faces_are_followed_as_by_python(page: Any):
    moved = portrait(112, 27)
    before, after, gone = page.evaluate(
        """async ([first, second, empty]) => {
          const { faces } = await window.analysis.analyze(window.blob(first));
          const near = faces[0].box.map((value, i) => (i === 0 ? value + 3 : value));
          const follow = [...faces, { ...faces[0], box: near }]; // two that come to be one
          return [
            faces,
            (await window.analysis.analyze(await window.pixels(second), { follow })).faces,
            (await window.analysis.analyze(window.blob(empty), { follow })).faces,
          ];
        }""",
        [text(png(portrait())), text(png(moved)), text(png(Image.new("RGB", (320, 240))))],
    )
    assert gone == []
    assert len(after) == 1
    near = before[0]["box"][:]
    starts = [near, [near[0] + 3, *near[1:]]]
    expected = [
        followed(np.asarray(moved), Detection(box=tuple(box), roll=before[0]["roll"]))
        for box in starts
    ]
    best = max((face for face in expected if face), key=lambda face: face.score)
    np.testing.assert_allclose(after[0]["box"], best.box, atol=0.02)
    # Of the centre: boxes that are followed are not measured, and widths differ by some percent.
    left, width = np.subtract(after[0]["box"], before[0]["box"])[[0, 2]]
    np.testing.assert_allclose(left + width / 2, 8, atol=1.5)


def test_pictures_asked_for_at_once_are_answered_each(page: Any):
    sizes = page.evaluate(
        """async (texts) => {
          const all = texts.map((text) => window.analysis.analyze(window.blob(text)));
          return (await Promise.all(all)).map(({ width, height, faces }) => [
            width, height, faces.length,
          ]);
        }""",
        [text(png(portrait().resize(size))) for size in ((320, 240), (160, 120), (480, 360))],
    )
    assert sizes == [[320, 240, 1], [160, 120, 1], [480, 360, 1]]


def huge_png() -> bytes:
    """Return a PNG whose header says 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk


def test_what_is_no_picture_is_told_and_the_next_one_is_served(page: Any):
    jpeg = ASTRONAUT.read_bytes()
    whole = png(portrait())
    cases = {
        b"": "This is not a picture that the browser can read.",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>": "This is not a picture that the browser",
        b"\0\0\0\x18ftypisom\0\0\0\0": "This is a video, not a picture.",
        b"\0\0\0\x18ftypheic\0\0\0\0": "This browser does not read HEIC; save the picture as JPEG.",
        jpeg[: len(jpeg) // 2]: "The file is only a part of a JPEG: it ends early.",
        whole[:-30]: "The file is only a part of a PNG: it ends early.",
        huge_png(): "The picture has 60000 x 60000 pixels; expected at most 178,956,970 in all.",
        b"BM" + bytes(60): "The browser cannot read this BMP: it is corrupt or unsupported.",
    }
    told = page.evaluate(
        """async (texts) => {
          const told = [];
          for (const text of texts) {
            try {
              await window.analysis.analyze(window.blob(text));
              told.push("");
            } catch (error) {
              told.push(`${error.name}: ${error.message}`);
            }
          }
          return told;
        }""",
        [text(data) for data in cases],
    )
    for message, expected in zip(told, cases.values()):
        assert message.startswith(f"AnalysisError: {expected}")
    analyze = "async (text) => (await window.analysis.analyze(window.blob(text))).faces.length"
    assert page.evaluate(analyze, text(whole)) == 1


def test_what_cannot_be_loaded_is_told(browser: Any, site: str):
    page = browser.new_page()
    page.goto(f"{site}settings.json")
    load = """async (base) => {
      const { load } = await import("/analysis.js");
      try {
        await load(base);
      } catch (error) {
        return `${error.name}: ${error.message}`;
      }
    }"""
    assert page.evaluate(load, "/nowhere/").startswith("AnalysisError: ")
    page.route("**/network.onnx", lambda route: route.fulfill(body=b"no network"))
    assert page.evaluate(load, "/").startswith("AnalysisError: It failed: ")
    page.route("**/network.onnx", lambda route: route.abort())
    assert page.evaluate(load, "/") == (
        "AnalysisError: network.onnx cannot be loaded: no connection."
    )
    page.close()


def test_nothing_is_answered_after_the_end(browser: Any, site: str):
    page = browser.new_page()
    page.goto(f"{site}settings.json")
    page.evaluate(_SETUP, site)
    told = page.evaluate(
        """async (text) => {
          const told = ({ message }) => message;
          const asked = window.analysis.analyze(window.blob(text)).catch(told);
          window.analysis.close();
          return [await asked, await window.analysis.analyze(window.blob(text)).catch(told)];
        }""",
        text(ASTRONAUT.read_bytes()),
    )
    assert told == ["The analysis was ended."] * 2
    page.close()


# --- other servers and other networks ------------------------------------------------------------


class _Handler(http.server.SimpleHTTPRequestHandler):
    """A server that sends no headers of its own, as many do."""

    extensions_map: ClassVar = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
    }

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def _network(channels: int, data_format: str, units: int, activation: str) -> Network:
    shape = (24, 24, channels) if data_format == "channels_last" else (channels, 24, 24)
    return chain(
        Conv2D(
            filters=4,
            kernel_size=(3, 3),
            strides=(2, 2),
            activation="relu",
            data_format=data_format,
        ),
        Flatten(data_format=data_format),
        Dense(units=units, activation=activation),
        shape=shape,
    )


@pytest.mark.parametrize(
    ("channels", "data_format", "units", "activation", "value_range"),
    [
        (3, "channels_last", 3, "linear", (-1.0, 1.0)),
        (3, "channels_first", 3, "softmax", (0.0, 255.0)),
        (1, "channels_first", 3, "log_softmax", (0.0, 1.0)),
        (1, "channels_last", 1, "sigmoid", (-0.5, 0.5)),
        (1, "channels_last", 3, "sigmoid", (0.0, 1.0)),
    ],
)
def test_any_network_on_any_server(
    browser: Any,
    tmp_path: Path,
    channels: int,
    data_format: str,
    units: int,
    activation: str,
    value_range: tuple[float, float],
):
    from ferjax.web import runtime
    from ferjax.web import site as sites

    network = _network(channels, data_format, units, activation)
    labels = ["no", "yes"] if units == 1 else ["calm", "tense", "other"]
    classifier = EmotionClassifier(network, as_trained(network), labels, value_range=value_range)
    try:
        sites.write(classifier, tmp_path / "site", runtime=runtime.find())
    except runtime.RuntimeMissingError as error:
        pytest.skip(str(error))
    with served(tmp_path / "site") as address:
        page = browser.new_page()
        page.goto(f"{address}settings.json")
        page.evaluate(_SETUP, address)
        isolated, faces = page.evaluate(
            """async (text) => [
              crossOriginIsolated, (await window.analysis.analyze(window.blob(text))).faces,
            ]""",
            text(ASTRONAUT.read_bytes()),
        )
        page.close()
    assert not isolated  # so WebAssembly had one thread
    (expected,) = classifier.analyze(ASTRONAUT)
    np.testing.assert_allclose(faces[0]["raw"], list(expected.probabilities.values()), atol=1e-3)
