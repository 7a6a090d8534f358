"""What a photograph takes on one core, stage by stage, in CPU seconds."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import face_pictures

STAGES = ("decode", "detect", "crop", "network", "write")
LARGE = (4000, 3000)  # pixels, width and height of what a telephone's camera takes
_NOISE = 6.0  # standard deviation of gray levels, by which the files are as long as a camera's
_BATCH = 64  # faces that go through the network at once, as in use


def pictures(photograph: Path, folder: Path, count: int, seed: int) -> dict[str, list[Path]]:
    """Write photographs of three kinds, and return them: 640x480 with one face and with six, and of
    twelve megapixels with one face.

    Args:
        photograph: the astronaut, whole.
        folder: where they go.
        count: of each of the small kinds; of the large one there are a quarter as many.
        seed: of shifts, brightness and noise.
    """
    face_pictures.prepare(photograph, folder, count, seed)
    rng = np.random.default_rng(seed)
    (folder / "large").mkdir()
    small = {name: sorted((folder / name).iterdir()) for name in ("one", "six")}
    for path in small["one"][: max(1, count // 4)]:
        small_image = np.asarray(cv2.imread(os.fspath(path)))
        image = cv2.resize(small_image, LARGE, interpolation=cv2.INTER_CUBIC)
        noise = rng.normal(0, _NOISE, (LARGE[1], LARGE[0], 1))
        noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(os.fspath(folder / "large" / path.name), noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return {**small, "large": sorted((folder / "large").iterdir())}


def measure(paths: Sequence[Path], weights: str | None = None) -> dict[str, float]:
    """Return milliseconds of a core by stage and photograph, of `network` and `crop` by face; how
    many faces a photograph has, its bytes, and under "whole" what `ferjax faces` takes for all.

    Each is what the fastest of five rounds took: others work on a machine, too.
    """
    import ferjax
    from ferjax.faces import cropping, detection, results
    from ferjax.faces.face import Face, Photograph
    from ferjax.preprocessing import load_picture

    classifier = ferjax.load(weights, engine="onnx")
    detection.detect(load_picture(paths[0]))  # loads the detector
    classifier.predict_batch(np.zeros((_BATCH, *classifier.image_size, 1), np.float32), threads=1)

    decoded, decode = _least(lambda: [load_picture(path) for path in paths])
    found, detect = _least(lambda: [detection.detect(picture) for picture in decoded])
    pairs = [(picture, face) for picture, faces in zip(decoded, found) for face in faces]
    crops, crop = _least(
        lambda: [classifier.preprocess(cropping.crop(*pair), resize="area")[0] for pair in pairs]
    )
    batch = np.stack([crops[number % len(crops)] for number in range(_BATCH)])
    probabilities, network = _least(lambda: classifier.predict_batch(batch, threads=1))

    def entry(path: Path, faces: Sequence[Any]) -> dict[str, Any]:
        said = classifier.describe(probabilities[0])
        seen = [Face(**vars(face), **_said(said)) for face in faces]
        return results.entry_of(os.fspath(path), Photograph(source=path, faces=seen))

    def written() -> int:
        table = csv.writer(io.StringIO())
        for path, faces in zip(paths, found):
            table.writerows(results.rows(entry(path, faces)))
        return len(paths)

    _, write = _least(written)
    _, whole = _least(lambda: list(classifier.analyze(iter(paths))))
    per_picture, per_face = 1000 / len(paths), 1000 / len(pairs)
    return {
        "decode": decode * per_picture,
        "detect": detect * per_picture,
        "crop": crop * per_face,
        "network": network * 1000 / _BATCH,
        "write": write * per_picture,
        "whole": whole * per_picture,
        "faces": len(pairs) / len(paths),
        "bytes": sum(path.stat().st_size for path in paths) / len(paths),
    }


def _said(said: Any) -> dict[str, Any]:
    names = ("label", "index", "confidence", "probabilities")
    return {name: getattr(said, name) for name in names}


def _least(work: Callable[[], Any], rounds: int = 5) -> tuple[Any, float]:
    """Return what some work gives, and the least CPU seconds that it took."""
    least = float("inf")
    result = None
    for _ in range(rounds):
        begun = time.process_time()
        result = work()
        least = min(least, time.process_time() - begun)
    return result, least
