"""A face pipeline, timed in a process of its own: files on the disk to faces with their labels.

It runs in the environment of what it times, so beside that it needs the standard library alone:

    python face_worker.py ENTRY '{"folder": ..., "seconds": ..., "began": ..., "many": ...,
                                  "model": ...}'
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

KINDS = ("one", "six")
LEAST = 5  # pictures of a rate
SAMPLES = 100  # of the memory
WARM_UP = 16  # pictures of a stream: full batches have been compiled after them
# From an iterator of paths to how many faces each picture has, in order.
Pipeline = Callable[[Iterator[str]], Iterator[int]]


def ferjax(engine: str, weights: str | None = None) -> Pipeline:
    """Return ferjax's stream of photographs, with weights of the repository or the default ones."""
    path = None if weights is None else Path(__file__).parents[2] / "checkpoints" / weights
    classifier = importlib.import_module("ferjax").load(path, engine=engine)
    return lambda paths: map(len, classifier.analyze(paths))


def ferjax_singly(engine: str) -> Pipeline:
    """Return ferjax, called with one photograph at a time."""
    classifier = importlib.import_module("ferjax").load(engine=engine)
    return lambda paths: (len(classifier.analyze(path)) for path in paths)


def fer(mtcnn: bool) -> Pipeline:
    """Return the pipeline of the package `fer`, as its documentation calls it."""
    if mtcnn:
        importlib.import_module("torch")  # TensorFlow's LLVM, loaded before, ends the process
    cv2 = importlib.import_module("cv2")
    detector = importlib.import_module("fer.fer").FER(mtcnn=mtcnn)
    return lambda paths: (len(detector.detect_emotions(cv2.imread(path))) for path in paths)


def by_hand(finder: str, model: str) -> Pipeline:
    """Return what the bare libraries do, one photograph after the other, see `by_hand.py`."""
    sys.path.append(str(Path(__file__).parent))  # this is a script, not a part of a package
    cv2, np, hand = map(importlib.import_module, ("cv2", "numpy", "by_hand"))
    find, classify = getattr(hand, finder)(), hand.classifier(Path(model))

    def pipeline(paths: Iterator[str]) -> Iterator[int]:
        for path in paths:
            image = cv2.imdecode(np.fromfile(path, "uint8"), cv2.IMREAD_COLOR)
            yield len(classify(image, find(image)))

    return pipeline


# From the settings of the process to its pipeline.
ENTRIES: dict[str, Callable[[Mapping[str, Any]], Pipeline]] = {
    "ferjax": lambda _: ferjax("jax"),
    "ferjax-onnx": lambda _: ferjax("onnx"),
    "ferjax-cnn5": lambda _: ferjax("jax", "fer_cnn5.h5"),
    "ferjax-singly": lambda _: ferjax_singly("jax"),
    "fer": lambda _: fer(False),
    "fer-mtcnn": lambda _: fer(True),
    "hand-opencv": lambda settings: by_hand("by_opencv", settings["model"]),
    "hand-onnx": lambda settings: by_hand("by_onnx_runtime", settings["model"]),
}


def pictures(folder: Path, kind: str) -> list[str]:
    """Return the paths of the pictures of a kind."""
    return sorted(str(path) for path in (folder / kind).iterdir())


def for_seconds(paths: list[str], seconds: float, least: int) -> Iterator[str]:
    """Yield paths, from the first again after the last, for so long."""
    began = time.perf_counter()
    for number, path in enumerate(itertools.cycle(paths)):
        if number >= least and time.perf_counter() - began >= seconds:
            return
        yield path


def rates(pipeline: Pipeline, folder: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Return pictures/s and faces by picture, warm, of each kind of pictures."""
    result = {}
    for kind in KINDS:
        paths = pictures(folder, kind)
        list(pipeline(iter(paths[:WARM_UP])))
        list(pipeline(for_seconds(paths, seconds / 5, LEAST)))
        began = time.perf_counter()
        counts = list(pipeline(for_seconds(paths, seconds, LEAST)))
        taken = time.perf_counter() - began
        result[kind] = {"rate": len(counts) / taken, "faces": sum(counts) / len(counts)}
    return result


def memory(pipeline: Pipeline, folder: Path, count: int) -> list[tuple[int, float]]:
    """Return (pictures done, resident MB) at a hundred points on the way through `count`."""
    paths = [path for kind in KINDS for path in pictures(folder, kind)]
    samples = []
    every = max(1, count // SAMPLES)
    stream = itertools.islice(itertools.cycle(paths), count)
    for done, _ in enumerate(pipeline(stream), 1):
        if done % every == 0:
            samples.append((done, resident_mb()))
            print(f"{done:,} of {count:,}: {samples[-1][1]:.0f} MB", file=sys.stderr, flush=True)
    return samples


def resident_mb() -> float:
    """Return what this process has in memory, in millions of bytes."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # not on Linux
        return float(importlib.import_module("psutil").Process().memory_info().rss / 1e6)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(argv: list[str]) -> int:
    """Measure, and print the figures as a line of JSON."""
    entry, given = argv
    settings: dict[str, Any] = json.loads(given)
    folder = Path(settings["folder"])
    pipeline = ENTRIES[entry](settings)
    list(pipeline(iter(pictures(folder, "one")[:1])))
    result: dict[str, Any] = {"start": time.time() - settings["began"]}
    if settings["many"]:
        result["memory"] = memory(pipeline, folder, settings["many"])
    else:
        result["kinds"] = rates(pipeline, folder, settings["seconds"])
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
