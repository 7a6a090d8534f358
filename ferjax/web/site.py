"""Write the page as a static site: its files, the networks, the runtime, and settings.json.

settings.json is what the page's scripts know of the weights; `settings` says what is in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ferjax._version import __version__
from ferjax.errors import FerjaxError, WriteError, listed
from ferjax.files import check_folder, json_text, make_folder, read_json, replacing
from ferjax.web import runtime as runtimes
from ferjax.web.card import card

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier

PAGE: Final = Path(__file__).parent / "page"
SETTINGS: Final = "settings.json"
FORMAT: Final = "ferjax page 1"
TITLE: Final = "Facial expressions"

_MOST_SETTINGS: Final = 1 << 22  # bytes of a settings.json that is looked into
_SAMPLE: Final = "sample.jpg"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A site that was written.

    Attributes:
        folder: where it is.
        num_bytes: of all its files.
        runtime: where ONNX Runtime Web comes from, in words.
    """

    folder: Path
    num_bytes: int
    runtime: str


def write(
    classifier: EmotionClassifier,
    folder: str | os.PathLike[str],
    *,
    runtime: str | os.PathLike[str] | runtimes.Runtime | None = None,
    weights: str | os.PathLike[str] | None = None,
    title: str | None = None,
    force: bool = False,
    report: runtimes.Report | None = None,
) -> Site:
    """Write the page for a classifier into a folder, whole or not at all.

    Args:
        classifier: the weights that the page classifies by.
        folder: made where it is not there; a page that lies there is replaced.
        runtime: ONNX Runtime Web, as for `ferjax.web.find_runtime`.
        weights: the file of the classifier, which the page's card names.
        title: the page's heading; None: `TITLE`.
        force: replace the folder whatever it holds.
        report: is told of what takes long.

    Raises:
        RuntimeMissingError: ONNX Runtime Web is not at hand.
        WriteError: the folder holds something else, or cannot be written.
        FerjaxError: the package onnx is missing, or what `runtime` names cannot be used.
    """
    say = report or (lambda message: None)
    check_place(folder, force=force, weights=weights)
    if not isinstance(runtime, runtimes.Runtime):
        runtime = runtimes.find(runtime, report=say)
    say("the networks are written as ONNX")
    files = _files(classifier, runtime)
    described = settings(classifier, weights=weights, title=title)
    described["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files}
    files.append((SETTINGS, json_text(described, allow_nan=False).encode()))
    make_folder(Path(os.path.abspath(folder)).parent)
    with replacing(folder, directory=True) as temporary:
        for name, content in files:
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return Site(
        folder=Path(folder),
        num_bytes=sum(len(content) for _, content in files),
        runtime=runtime.source,
    )


def settings(
    classifier: EmotionClassifier,
    *,
    weights: str | os.PathLike[str] | None = None,
    title: str | None = None,
) -> dict[str, Any]:
    """Return settings.json but for the hashes of the site's files, "sha256".

    - ferjax: the version; format: `FORMAT`; title: the page's heading; name: of the weights.
    - labels: the K class names in output order.
    - imageSize: [H, W], channels (1 gray, 3 RGB), layout ("nhwc" or "nchw"), valueRange ([black,
      white]): what the network takes.
    - output: what it gives. "probabilities" (K), "logits" (K), "log_probabilities" (K), or
      "second", one number, the probability of the second of two classes.
    - distribution: whether probabilities are known to sum to 1, which calibration and priors need.
    - scaling: {temperature, offsets or null, prior or null}, what calibrates them, or null: the
      prior is what calibrated probabilities hold for.
    - trainingFrequencies: K shares, what probabilities hold for as they are, or null.
    - card: see `ferjax.web.card`.
    """
    head, scaling = classifier.head, classifier.scaling
    output = {"linear": "logits", "log_softmax": "log_probabilities"}.get(head.activation)
    frequencies = classifier.prior_after(None)
    described = card(classifier, None if weights is None else Path(weights))
    calibrated_prior = None if scaling is None else classifier.prior_after(scaling)
    return {
        "ferjax": __version__,
        "format": FORMAT,
        "title": title or TITLE,
        "name": described["name"],
        "labels": list(classifier.labels),
        "imageSize": list(classifier.image_size),
        "channels": classifier.network.graph.image_shape[2],
        "layout": "nchw" if classifier.network.graph.data_format == "channels_first" else "nhwc",
        "valueRange": list(classifier.value_range),
        "output": "second" if head.is_single_unit else output or "probabilities",
        "distribution": head.gives_distribution,
        "scaling": None
        if scaling is None
        else {
            "temperature": float(scaling.temperature),
            "offsets": None if scaling.offsets is None else list(scaling.offsets),
            "prior": None if calibrated_prior is None else calibrated_prior.tolist(),
        },
        "trainingFrequencies": None if frequencies is None else frequencies.tolist(),
        "card": described,
    }


def check_place(
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    weights: str | os.PathLike[str] | None = None,
) -> None:
    """Raise where the page cannot be written to a folder: before long work for it.

    Args:
        force: replace the folder whatever it holds, but for `weights`.
        weights: the file that the page is made of.

    Raises:
        WriteError: it holds something else than a page, and `force` is not given; or it is the
            current folder or one above it; or it is not writable; or the weights are in it.
    """
    check_folder(folder)
    target = Path(os.path.realpath(folder))
    here, home = Path(os.path.realpath(os.curdir)), Path.home()
    if any(target == place or target in place.parents for place in (here, home)):
        raise WriteError(
            f"{folder}: expected a folder of its own for the page, got the current one, "
            "the home folder, or one above them"
        )
    if weights is not None and target in Path(os.path.realpath(weights)).parents:
        raise WriteError(
            f"{folder}: holds the weights that the page is made of, {weights}; name another folder"
        )
    if not target.is_dir() or force:
        return
    names = sorted(entry.name for entry in os.scandir(target))
    if not names:
        return
    if not _is_page(target):
        raise WriteError(
            f"{folder}: holds something else than a page of ferjax ({listed(names[:3])}); "
            "name another folder, or --force replaces it with all that is in it"
        )
    others = sorted(set(_names_in(target)) - _own_names(target))
    if others:
        raise WriteError(
            f"{folder}: holds files beside the page ({listed(others[:3])}); move them, or --force "
            "replaces the folder with all that is in it"
        )


def _is_page(folder: Path) -> bool:
    if not (folder / SETTINGS).is_file():
        return False
    try:
        stated = read_json(folder / SETTINGS, _MOST_SETTINGS)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(stated, dict) and stated.get("format") == FORMAT


def _own_names(folder: Path) -> set[str]:
    """Return the files that the page in a folder consists of."""
    stated = read_json(folder / SETTINGS, _MOST_SETTINGS).get("sha256")
    return {SETTINGS, *(stated if isinstance(stated, dict) else ())}


def _names_in(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def page_files() -> Iterator[tuple[str, bytes]]:
    """Yield the page's own files by name: markup, styles, scripts and the sample photograph."""
    for path in sorted(PAGE.rglob("*")):
        if path.is_file() and path.name != _SAMPLE:
            yield path.relative_to(PAGE).as_posix(), path.read_bytes()
    yield _SAMPLE, sample()


def sample() -> bytes:
    """Return the sample photograph, of NASA and in the public domain.

    Raises:
        FerjaxError: this installation lacks it.
    """
    checkout = Path(__file__).parents[2] / "examples" / "astronaut.jpg"
    for path in (PAGE / _SAMPLE, checkout):
        if path.is_file():
            return path.read_bytes()
    raise FerjaxError(f"this installation lacks the page's {_SAMPLE}; reinstall ferjax")


def _files(classifier: EmotionClassifier, runtime: runtimes.Runtime) -> list[tuple[str, bytes]]:
    from ferjax.faces.yunet_network import model_of_open_sizes
    from ferjax.web.compact import network_file

    return [
        *page_files(),
        ("detector.onnx", model_of_open_sizes()),
        ("network.onnx", network_file(classifier)),
        *((f"runtime/{name}", content) for name, content in runtime.files.items()),
        *((f"runtime/{name}", content) for name, content in runtimes.licences().items()),
    ]
