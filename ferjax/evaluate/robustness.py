"""Accuracy on corrupted and on partly covered faces.

Corruptions and the mean corruption error are after Hendrycks and Dietterich (ICLR 2019). What a
corruption does to accuracy depends on the dataset, so errors are set in relation to those of a
baseline network on the same images.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.classifier import EmotionClassifier
from ferjax.data.reading import Progress
from ferjax.errors import DataError
from ferjax.evaluate.corruptions import CORRUPTIONS, OCCLUSIONS, SEVERITIES, corrupt, occlude
from ferjax.files import read_json

# The released fer_cnn5 on FER2013's PublicTest, as `ferjax evaluate --robustness` measured it.
BASELINE: Final = Path(__file__).with_name("baseline.json")
MOST_BYTES: Final = 64 << 20  # of a report.json
CHUNK: Final = 512


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Accuracy by corruption and by what is covered, in [0, 1].

    Attributes:
        images: N.
        checksum: of images and labels.
        clean: accuracy on them as they are.
        corruptions: by kind, at severities 1 to 5.
        occlusions: by region.
        mean: over all kinds and severities.
        baseline: whose errors the next two are relative to; None where it was measured on other
            images.
        mean_corruption_error: the mean over kinds of the summed error over severities, relative to
            the baseline's; 1 is as good as the baseline, lower is better.
        relative_mean_corruption_error: the same of the errors that come on top of the clean one.
        seed: of the corruptions.
    """

    images: int
    checksum: str
    clean: float
    corruptions: dict[str, tuple[float, ...]]
    occlusions: dict[str, float]
    mean: float
    baseline: str | None
    mean_corruption_error: float | None
    relative_mean_corruption_error: float | None
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return values that `json.dumps` takes."""
        return dataclasses.asdict(self)


def robustness(
    classifier: EmotionClassifier,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    *,
    checksum: str,
    baseline: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Robustness:
    """Measure accuracy under every corruption and occlusion, single view.

    Args:
        images: uint8 in [0, 255], (N, H, W).
        labels: int (N,).
        checksum: of images and labels, which tells whether the baseline's are the same.
        baseline: a report.json with robustness in it; None: ferjax's own, of fer_cnn5.
        seed: of the corruptions.
        progress: called with (done, total, "corrupted images").

    Raises:
        DataError: the baseline cannot be used.
    """
    against = comparable_baseline(baseline, checksum)
    conditions = [("", 0), *itertools.product(CORRUPTIONS, SEVERITIES)]
    conditions += [(region, 0) for region in OCCLUSIONS]
    accuracies: dict[tuple[str, int], float] = {}
    for number, (name, severity) in enumerate(conditions):
        hits = 0
        for first in range(0, len(images), CHUNK):
            chunk = images[first : first + CHUNK]
            if severity:
                chunk = corrupt(chunk, name, severity, seed=seed, first=first)
            elif name:
                chunk = occlude(chunk, name)
            answers = classifier.head.predicted(classifier.predict_proba(chunk, resize="linear"))
            hits += int((answers == labels[first : first + CHUNK]).sum())
            if progress is not None:
                done = number * len(images) + first + len(chunk)
                progress(done, len(conditions) * len(images), "corrupted images")
        accuracies[name, severity] = hits / len(images)
    clean = accuracies["", 0]
    corruptions = {name: tuple(accuracies[name, s] for s in SEVERITIES) for name in CORRUPTIONS}
    comparable = against["checksum"] == checksum
    mce, relative = mean_corruption_errors(clean, corruptions, against)
    return Robustness(
        images=len(images),
        checksum=checksum,
        clean=clean,
        corruptions=corruptions,
        occlusions={name: accuracies[name, 0] for name in OCCLUSIONS},
        mean=float(np.mean(list(corruptions.values()))),
        baseline=against["name"] if comparable else None,
        mean_corruption_error=mce if comparable else None,
        relative_mean_corruption_error=relative if comparable else None,
        seed=seed,
    )


def mean_corruption_errors(
    clean: float, corruptions: Mapping[str, Sequence[float]], baseline: Mapping[str, Any]
) -> tuple[float | None, float | None]:
    """Return the mean corruption error and the relative one, from accuracies in [0, 1].

    Either is None where the baseline makes no errors of a kind, or none on top of its clean ones.

    >>> mean_corruption_errors(
    ...     0.75, {"fog": (0.5, 0.25)}, {"clean": 0.75, "corruptions": {"fog": (0.5, 0.5)}}
    ... )
    (1.25, 1.5)
    """
    ratios, relative = [], []
    for name, accuracies in corruptions.items():
        errors = 1 - np.asarray(accuracies)
        of_baseline = 1 - np.asarray(baseline["corruptions"][name])
        ratios.append(_ratio(errors.sum(), of_baseline.sum()))
        added = errors - (1 - clean), of_baseline - (1 - baseline["clean"])
        relative.append(_ratio(added[0].sum(), added[1].sum()))
    return _mean(ratios), _mean(relative)


def _mean(ratios: Sequence[float]) -> float | None:
    return float(np.mean(ratios)) if np.isfinite(ratios).all() else None


def _ratio(above: float, below: float) -> float:
    return above / below if below > 1e-9 else np.nan


def comparable_baseline(baseline: str | os.PathLike[str] | None, checksum: str) -> dict[str, Any]:
    """Return what `read_baseline` does, of images with a checksum.

    Ferjax's own baseline, None, may be of other images.

    Raises:
        DataError: the baseline cannot be used.
    """
    against = read_baseline(BASELINE if baseline is None else baseline)
    if baseline is not None and against["checksum"] != checksum:
        raise DataError(f"{baseline}: was measured on other images")
    return against


def read_baseline(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return name, checksum, clean and corruptions of a report.

    Raises:
        DataError: it is no report, or was made without robustness.
    """
    try:
        report = read_json(path, MOST_BYTES)
        measured = report["robustness"]
        if measured is None:
            raise DataError(f"{path}: a report without robustness; evaluate with --robustness")
        baseline: dict[str, Any] = {
            "name": str(report["weights"]["name"]),
            "checksum": str(measured["checksum"]),
            "clean": float(measured["clean"]),
            "corruptions": {
                name: tuple(float(x) for x in measured["corruptions"][name]) for name in CORRUPTIONS
            },
        }
        if any(len(row) != len(SEVERITIES) for row in baseline["corruptions"].values()):
            raise ValueError("severities")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: expected the report.json of `ferjax evaluate --robustness`"
        ) from None
    return baseline
