"""What a run over photographs is asked for, and whether another one may go on with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ferjax import priors
from ferjax._version import __version__
from ferjax.classifier import EmotionClassifier
from ferjax.errors import FerjaxError, printable
from ferjax.faces.options import FaceOptions
from ferjax.priors import Prior

_MAY_LACK: Final = ("--prior", "--training-frequencies")  # where they change nothing


@dataclass(frozen=True, kw_only=True)
class Settings(FaceOptions):
    """What to do with photographs; "adapt" looks at all of them before the first result.

    Attributes:
        explain: draw where each label's score comes from on the faces; with `draw` alone.
        anonymise: pixelate the faces in what is drawn; with `draw` alone.
        draw: the folder of annotated pictures, or None.
        crops: the folder of the faces' crops, or None.
        table: the CSV file, or None.
        resume: go on where an interrupted run with the same settings was.
        force: replace an unfinished run, and a CSV file that ferjax did not write.
    """

    anonymise: bool = False
    explain: bool = False
    draw: str | None = None
    crops: str | None = None
    table: str | None = None
    resume: bool = False
    force: bool = False

    def check(self) -> None:
        """Raise a FerjaxError where settings do not go together."""
        for name, path in (("--draw", self.draw), ("--crops", self.crops), ("--csv", self.table)):
            if path == "":
                raise FerjaxError(f"expected a path for {name}, got an empty string")
        if self.anonymise and self.draw is None:
            raise FerjaxError("--anonymise is for what --draw draws: give --draw DIR too")
        if self.anonymise and self.crops is not None:
            raise FerjaxError(
                "--crops writes faces as they are, and --anonymise hides them: give one"
            )
        if self.anonymise and self.largest:
            raise FerjaxError("--largest would leave faces as they are that --anonymise is to hide")
        if self.explain and self.draw is None:
            raise FerjaxError("--explain is for what --draw draws: give --draw DIR too")
        if self.resume and not (self.draw or self.crops or self.table):
            raise FerjaxError(
                "--resume goes on with what --csv, --draw or --crops wrote: give one of them"
            )

    @property
    def of_faces(self) -> FaceOptions:
        """The options of `EmotionClassifier.analyze` alone."""
        return FaceOptions(
            **{name: getattr(self, name) for name in FaceOptions.__dataclass_fields__}
        )

    def asked(self, classifier: EmotionClassifier, given: Sequence[str]) -> dict[str, Any]:
        """Return all that results depend on, by the names of the options."""

        def full(path: str | None) -> str | None:
            return None if path is None else os.path.realpath(path)

        return {
            **asked_of(classifier, self.prior),
            "--min-score": self.min_score,
            "--min-size": self.min_size,
            "--largest": self.largest,
            "--order": self.order,
            "--resize": self.resize,
            "--calibrated": self.calibrated,
            "--abstain-below": self.abstain_below,
            "--anonymise": self.anonymise,
            "--explain": self.explain,
            "--draw": full(self.draw),
            "--crops": full(self.crops),
            "--csv": full(self.table),
            "given": [os.path.abspath(path) for path in given],
        }


def asked_of(classifier: EmotionClassifier, prior: Prior) -> dict[str, Any]:
    """Return what results depend on that is the classifier's, by the names of the options."""
    engine = classifier.engine  # before its variables are read, which it may do without
    return {
        "ferjax": __version__,
        "--weights": _fingerprint(classifier),
        "--labels": list(classifier.labels),
        "--value-range": list(classifier.value_range),
        "--engine": engine,
        **_prior_options(classifier, prior),
    }


def _fingerprint(classifier: EmotionClassifier) -> str:
    """Return what differs for another network, other weights or another temperature."""
    digest = hashlib.sha256(repr(classifier.graph.layers).encode())
    for collection, layers in sorted(classifier.variables.items()):
        for layer, arrays in sorted(layers.items()):
            for name, array in sorted(arrays.items()):
                digest.update(f"{collection} {layer!r} {name} {np.shape(array)}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(f"{classifier.temperature} {classifier.image_size}".encode())
    if classifier.scaling is not None and classifier.scaling.offsets is not None:
        digest.update(repr(classifier.scaling).encode())
    return digest.hexdigest()[:16]


def _prior_options(classifier: EmotionClassifier, prior: Prior) -> dict[str, Any]:
    """Return the options of a prior that changes results, by their names."""
    if priors.is_training(prior):
        return {}
    if not isinstance(prior, str):
        shares = priors.shares(prior, classifier.labels)
        prior = priors.as_text(dict(zip(classifier.labels, shares)))
    return {"--prior": prior, "--training-frequencies": priors.as_text(classifier.prior or {})}


def check_resumed(was: Any, now: dict[str, Any], run: str) -> None:
    """Raise where a run was asked for something else than what goes on with it."""
    begun = f"{printable(run)}: the run was begun"
    for name in {**now, **dict.fromkeys(_MAY_LACK)}:
        before, value = was.get(name), now.get(name)
        if before == value or name == "given":
            continue
        if name == "ferjax":
            raise FerjaxError(f"{begun} by ferjax {before}, not {value}; --force begins anew")
        if name == "--weights":
            raise FerjaxError(f"{begun} with other weights; --force begins anew")
        raise FerjaxError(
            printable(
                f"{begun} with {_described(name, before)}, expected the same to go on with it, got "
                f"{_described(name, value)}; --force begins anew"
            )
        )
    missing = [path for path in was.get("given", []) if path not in now["given"]]
    for path in filter(os.path.exists, missing):
        raise FerjaxError(
            printable(f"{begun} with {path} too: give it again to go on, or --force to begin anew")
        )


def _described(name: str, value: Any) -> str:
    if value is None or value is False:
        return f"no {name}"
    if value is True:
        return name
    values = [str(v) for v in value] if isinstance(value, list) else [str(value)]
    return f"{name} {(',' if name == '--labels' else ' ').join(values)}"
