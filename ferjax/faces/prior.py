"""The prior that is estimated from the faces of all photographs, before the first result.

See `ferjax.priors`.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from ferjax.errors import FerjaxError, PriorError
from ferjax.faces.face import Face
from ferjax.faces.stream import photographs
from ferjax.priors import ADAPT, TRAINING, shares

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier
    from ferjax.faces.journal import Journal
    from ferjax.faces.settings import Settings

RECORDED: Final = "estimated prior"  # what a run's record calls it


def adapted(
    classifier: EmotionClassifier, photographed: Sequence[Sequence[Face]], abstain_below: float
) -> list[list[Face]]:
    """Return the faces of photographs under the prior that is estimated from all of them.

    Args:
        photographed: the faces of each photograph, calibrated where the weights have a calibration.
        abstain_below: as for `EmotionClassifier.predict`.

    Raises:
        PriorError: there are too few faces.
    """
    rows = [list(face.probabilities.values()) for faces in photographed for face in faces]
    probabilities = np.array(rows, np.float32).reshape(-1, len(classifier.labels))
    predictions = (
        classifier.describe(row, abstain_below=abstain_below)
        for row in classifier.with_prior(probabilities, ADAPT)
    )
    return [[replace(face, **vars(next(predictions))) for face in faces] for faces in photographed]


def estimate(
    classifier: EmotionClassifier,
    paths: Sequence[str | os.PathLike[str]],
    settings: Settings,
    advance: Callable[[int], None] | None = None,
) -> tuple[dict[str, float], int]:
    """Return the prior of photographs, shares by label, and from how many faces it is estimated.

    The probabilities of the faces alone are kept, 28 bytes a face of seven classes. A photograph
    that cannot be read counts as one without faces.

    Args:
        advance: called with 1 after each photograph.

    Raises:
        PriorError: there are too few faces.
    """
    values = array("f")
    with closing(
        photographs(
            classifier,
            paths,
            replace(
                settings,
                calibrated=classifier.scaling is not None,
                prior=TRAINING,
                abstain_below=0.0,
            ),
            full_batches=True,
        )
    ) as stream:
        for photograph in stream:
            for face in photograph.faces:
                values.extend(face.probabilities.values())
            if advance is not None:
                advance(1)
    rows = np.asarray(values, np.float32).reshape(-1, len(classifier.labels))
    classifier.with_prior(rows, ADAPT)
    assert classifier.adapted_prior is not None
    # Rounded as `priors.as_text` says it, so that another run can be given the same.
    prior = {label: float(f"{share:.4g}") for label, share in classifier.adapted_prior.items()}
    return prior, len(rows)


def recorded(journal: Journal, labels: Sequence[str]) -> dict[str, float]:
    """Return the prior that an interrupted run has estimated, shares by label.

    Raises:
        FerjaxError: its record does not say.
    """
    prior = (journal.asked or {}).get(RECORDED)
    try:
        if isinstance(prior, dict):
            shares(prior, labels)
            return prior
    except PriorError:
        pass
    raise FerjaxError(f"{journal.path}: does not say what prior was estimated; --force begins anew")
