"""Write what weights reach into the metadata beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ferjax import metadata, released
from ferjax.data.votes import BY_MAJORITY
from ferjax.errors import WeightFileError
from ferjax.evaluate import provenance
from ferjax.evaluate.evaluation import Evaluation
from ferjax.evaluate.metrics import Metrics
from ferjax.evaluate.votes import AgainstVotes


def recordable(weights: str | os.PathLike[str] | None) -> tuple[Path, dict[str, Any]]:
    """Return the path and the metadata that `record` writes to.

    Raises:
        WeightFileError: the file has no metadata, or that of other weights; or it is one that
            ferjax brings.
    """
    path = released.own_path(weights)
    stored = metadata.own(path)
    if not stored:
        raise WeightFileError(path, "no metadata beside it that the accuracy could go into")
    return path, stored


def record(evaluation: Evaluation, weights: str | os.PathLike[str] | None) -> Path:
    """Write the accuracy into the metadata beside the weights, in the place of an earlier one.

    Against the images' own labels first, then against their majority where they have votes.

    Args:
        weights: the file that was evaluated; None: ferjax's own.

    Raises:
        WeightFileError: the file has no metadata, or that of other weights.
        WriteError: the metadata cannot be written.
    """
    path, stored = recordable(weights)
    is_unsearched = provenance.copies_unknown(stored, provenance.Measured(**evaluation.data))

    def note(copies: int | None) -> str:
        """Return what is said of the copies among the images; None: they are left out."""
        if copies is None:
            whose = "this data's " if is_unsearched else ""
            return f"without exact copies of {whose}training images"
        if is_unsearched:
            return "copies of training images not known"
        return f"{copies} of the images are exact copies of training images"

    accuracies = [*_own(evaluation, note(evaluation.data["copies"]), note(None))]
    for classes, prior, measured, copies in _majorities(evaluation.votes):
        text = note(copies)
        calibrated = evaluation.calibrated
        if prior != "training" and calibrated is not None and calibrated.fitted_here:
            text += "; after a calibration fitted on these images"
        labels = f"{BY_MAJORITY}, {classes}"
        entry = _entry(evaluation, measured, None, text, labels, prior)
        accuracies.append({**entry, "balanced": round(measured.balanced_accuracy, 4)})
    recorded = metadata.with_accuracies(stored, accuracies)
    return metadata.write(path, {**stored, "accuracy": recorded})


def _own(evaluation: Evaluation, note: str, left_out: str) -> Iterator[dict[str, Any]]:
    """Yield the accuracies against the images' own labels, of all and of those without copies."""
    for measured, text in ((evaluation.whole, note), (evaluation.without_copies, left_out)):
        if measured is not None:
            figures = measured.calibration
            loss = None if figures is None else figures.negative_log_likelihood
            yield _entry(evaluation, measured, loss, text)


def _entry(
    evaluation: Evaluation,
    measured: Metrics,
    loss: float | None,
    note: str,
    labels: str | None = None,
    prior: str = "training",
) -> dict[str, Any]:
    return metadata.accuracy(
        evaluation.data["name"],
        measured.correct,
        measured.images,
        loss,
        view="single" if evaluation.tta == "none" else evaluation.tta,
        note=note,
        labels=labels,
        prior=None if prior == "training" else prior,
    )


def _majorities(against: AgainstVotes | None) -> Iterator[tuple[str, str, Metrics, int | None]]:
    """Yield what was measured against majorities: classes, prior, the figures, how many of the
    images are copies, None where these are left out.
    """
    if against is None:
        return
    honest = against.without_copies
    for prior, answers in against.whole.answers.items():
        for classes, measured in answers.majorities.items() if prior != "calibrated" else ():
            apart = honest.answers[prior].majorities.get(classes) if honest else measured
            yield classes, prior, measured, measured.images - (apart.images if apart else 0)
            if honest and apart:
                yield classes, prior, apart, None
