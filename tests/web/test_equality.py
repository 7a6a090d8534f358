"""The page in Chromium against Python on 50 photographs: the same faces, the same expressions."""

from __future__ import annotations

import base64
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ferjax import preprocessing
from ferjax.classifier import EmotionClassifier
from ferjax.faces import Face

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        int(cv2.__version__.split(".")[0]) < 5,
        reason="needs OpenCV 5: earlier ones turn pictures to 32nds of a pixel",
    ),
]

PIXEL = 1.0
PROBABILITY = 1e-3
# Of what Chromium decodes to other pixels than OpenCV, by how much: four inks are one less
# throughout, and transparent WebPs are rounded twice.
UNEQUAL_PIXELS = {"JPEG of four inks": 1, "WebP that grows clear": 1}

_ANALYZE = """async ([encoded, options]) => {
  const { decoded } = await import("./image.js");
  const { load } = await import("./analysis.js");
  window.analysis ??= await load("./");
  const blob = new Blob([Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0))]);
  const result = await window.analysis.analyze(blob, options);
  const { data } = await decoded(blob);
  let text = "";
  for (let i = 0; i < data.length; i += 8192) {
    text += String.fromCharCode(...data.subarray(i, i + 8192));
  }
  return { ...result, pixels: btoa(text) };
}"""


def _photographs() -> list[tuple[str, bytes]]:
    path = Path(__file__).parent / "photographs.py"
    spec = importlib.util.spec_from_file_location("photographs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.photographs())


@pytest.fixture(scope="module")
def page(browser: Any, site: str) -> Any:
    page = browser.new_page()
    page.goto(site)
    return page


def analyzed(page: Any, data: bytes, **options: Any) -> dict[str, Any]:
    return page.evaluate(_ANALYZE, [base64.b64encode(data).decode(), options])


def differences(faces: list[Face], seen: list[dict[str, Any]]) -> tuple[float, float]:
    """Return by how many pixels boxes and by how much probabilities differ at most."""
    boxes = [np.subtract(face.box, other["box"]) for face, other in zip(faces, seen, strict=True)]
    rows = [
        np.subtract(list(face.probabilities.values()), other["raw"])
        for face, other in zip(faces, seen, strict=True)
    ]
    return (
        max((float(np.abs(box).max()) for box in boxes), default=0.0),
        max((float(np.abs(row).max()) for row in rows), default=0.0),
    )


def test_the_page_says_what_python_says(page: Any, classifier: EmotionClassifier):
    photographs = _photographs()
    assert len(photographs) == len(dict(photographs)) == 50
    problems = []
    for name, data in photographs:
        faces = classifier.analyze(data)
        result = analyzed(page, data)
        picture = preprocessing.load_picture(data)
        assert (result["height"], result["width"]) == picture.shape[:2], name
        pixels = np.frombuffer(base64.b64decode(result["pixels"]), np.uint8)
        off = int(np.abs(pixels.reshape(picture.shape).astype(int) - picture).max())
        assert off <= UNEQUAL_PIXELS.get(name, 0), f"{name}: pixels differ by {off}"
        if len(result["faces"]) != len(faces):
            problems.append(f"{name}: {len(result['faces'])} faces for {len(faces)}")
            continue
        box, probability = differences(faces, result["faces"])
        print(f"{name}: {len(faces)} faces, {box:.4f} pixels, {probability:.1e}")
        if box > PIXEL or probability > PROBABILITY:
            problems.append(
                f"{name}: boxes by {box:.3f} pixels, probabilities by {probability:.2g}"
            )
        for face, seen in zip(faces, result["faces"]):
            assert seen["score"] == pytest.approx(face.score, abs=1e-3)
            assert seen["tooSmall"] == face.too_small
            np.testing.assert_allclose(seen["landmarks"], face.landmarks, atol=PIXEL)
    assert not problems, "\n".join(problems)


def test_options_are_pythons(page: Any, classifier: EmotionClassifier):
    photographs = dict(_photographs())
    for name, options in (
        ("twelve faces", {"min_size": 100}),
        ("twelve faces", {"largest": True}),
        ("a small face in a wide picture", {"min_size": 40}),
        ("blurred", {"min_score": 0.95}),
    ):
        names = {"min_size": "minSize", "min_score": "minScore"}
        given = {names.get(key, key): value for key, value in options.items()}
        faces = classifier.analyze(photographs[name], **options)
        box, probability = differences(faces, analyzed(page, photographs[name], **given)["faces"])
        assert box <= PIXEL and probability <= PROBABILITY, name
