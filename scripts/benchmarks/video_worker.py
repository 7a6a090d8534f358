"""A video pipeline, timed in a process of its own: a film to faces with their labels.

It runs in the environment of what it times, so beside that it needs the standard library alone:

    python video_worker.py ENTRY '{"films": [...], "warm_up": ..., "began": ..., "model": ...}'
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

RATE = 30.0
SAMPLES = 100  # of the memory
# From a film to how many faces each frame has, in order.
Pipeline = Callable[[str], Iterator[int]]


def ferjax(weights: str | None = None, **options: Any) -> Pipeline:
    """Return ferjax's frames of a film, with weights of the repository or the default ones."""
    path = None if weights is None else Path(__file__).parents[2] / "checkpoints" / weights
    classifier = importlib.import_module("ferjax").load(path)
    return lambda film: (len(frame.faces) for frame in classifier.analyze_video(film, **options))


def fer(**options: Any) -> Pipeline:
    """Return the film analysis of the package `fer`, with its Haar cascade."""
    classes, detectors = (importlib.import_module(f"fer.{name}") for name in ("classes", "fer"))
    detector = detectors.FER(mtcnn=False)

    def pipeline(film: str) -> Iterator[int]:
        with tempfile.TemporaryDirectory() as folder:
            video = classes.Video(film, outdir=folder)
            found = video.analyze(detector, display=False, **options)
        # A row for each frame, with a box for each face.
        return iter([sum(key.startswith("box") for key in row) for row in found])

    return pipeline


def _fer_bare() -> Pipeline:
    return fer(save_frames=False, save_video=False, annotate_frames=False, zip_images=False)


def decoded(film: str) -> Iterator[Any]:
    """Yield the frames of a film as PyAV decodes them, uint8 (H, W, 3) in BGR order."""
    with importlib.import_module("av").open(film) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="bgr24")


def by_hand(model: str, look_every: int) -> Pipeline:
    """Return what the bare libraries do, see `by_hand.py`."""
    sys.path.append(str(Path(__file__).parent))  # this is a script, not a part of a package
    hand = importlib.import_module("by_hand")
    find, classify = hand.by_onnx_runtime(), hand.classifier(Path(model))

    def pipeline(film: str) -> Iterator[int]:
        for number, image in enumerate(decoded(film)):
            if number % look_every == 0:
                boxes = find(image)
            yield len(classify(image, boxes))

    return pipeline


# From the settings of the process to its pipeline.
ENTRIES: dict[str, Callable[[Mapping[str, Any]], Pipeline]] = {
    "ferjax": lambda _: ferjax(),
    "ferjax-each": lambda _: ferjax(detect_every=1),
    "ferjax-third": lambda _: ferjax(detect_every=3),
    "ferjax-cnn5": lambda _: ferjax("fer_cnn5.h5"),
    "fer": lambda _: _fer_bare(),
    "fer-defaults": lambda _: fer(),
    "hand-onnx": lambda settings: by_hand(settings["model"], 6),
    "hand-onnx-each": lambda settings: by_hand(settings["model"], 1),
    "decoding": lambda _: lambda film: (0 for _ in decoded(film)),
}


def rates(pipeline: Pipeline, films: list[str]) -> dict[str, dict[str, float]]:
    """Return frames/s and faces by frame of each film."""
    result = {}
    for film in films:
        began = time.perf_counter()
        counts = list(pipeline(film))
        taken = time.perf_counter() - began
        faces = sum(counts) / max(1, len(counts))
        result[Path(film).stem] = {
            "rate": len(counts) / taken,
            "faces": faces,
            "frames": len(counts),
        }
    return result


def latencies(film: str, seconds: float) -> dict[str, float]:
    """Return how long after a frame came its faces are given, in ms, of frames 1/30 s apart."""
    module = importlib.import_module("ferjax")
    sources = importlib.import_module("ferjax.video.sources")
    classifier = module.load()
    pictures = [(p.time, p.image()) for p in sources.opened(film)][: round(seconds * RATE)]
    list(classifier.analyze_video(pictures[:60], latency="low"))
    came: list[float] = []
    began = time.perf_counter()

    def paced() -> Iterator[tuple[float, Any]]:
        for moment, image in pictures:
            wait = began + moment - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            came.append(began + moment)  # it may have waited since, as in a camera
            yield moment, image

    taken: list[float] = []
    for frame in classifier.analyze_video(paced(), latency="low"):
        assert frame.number == len(taken)
        taken.append(1000 * (time.perf_counter() - came[-1]))
    taken.sort()
    return {
        "median_ms": taken[len(taken) // 2],
        "p95_ms": taken[int(0.95 * len(taken))],
        "most_ms": taken[-1],
    }


def memory(film: str, frames: int, table: str) -> dict[str, Any]:
    """Return (frames done, resident MB) at a hundred points of a run that writes a table."""
    module = importlib.import_module("ferjax")
    run = importlib.import_module("ferjax.video.run")
    settings = importlib.import_module("ferjax.video.settings").Settings()
    outputs = importlib.import_module("ferjax.video.outputs").Outputs(table=table, force=True)
    work = run.Run(module.load(), film, settings, outputs)
    every, samples = max(1, frames // SAMPLES), []
    began = time.perf_counter()
    for done, _ in enumerate(work, 1):
        if done % every == 0:
            samples.append((done, resident_mb()))
            print(f"{done:,} of {frames:,}: {samples[-1][1]:.0f} MB", file=sys.stderr, flush=True)
    with open(table, "rb") as file:
        rows = sum(1 for _ in file) - 1
    return {"memory": samples, "rows": rows, "seconds": time.perf_counter() - began}


def resident_mb() -> float:
    """Return what this process has in memory, in millions of bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(argv: list[str]) -> int:
    """Measure, and print the figures as a line of JSON."""
    entry, given = argv
    settings: dict[str, Any] = json.loads(given)
    if entry == "latency":
        result: dict[str, Any] = latencies(settings["films"][0], settings["seconds"])
    elif entry == "memory":
        result = memory(settings["films"][0], settings["frames"], settings["table"])
    else:
        pipeline = ENTRIES[entry](settings)
        for _ in pipeline(settings["warm_up"]):  # loads, compiles, reads from the disk
            pass
        result = {"start": time.time() - settings["began"]}
        result["films"] = rates(pipeline, settings["films"])
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
