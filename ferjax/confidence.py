"""What a calibration and the frequencies of classes make of a network's probabilities.

Dimension keys: B images, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax import metadata, priors
from ferjax.errors import FerjaxError, PriorWarning, warn_caller
from ferjax.nets.head import Head
from ferjax.priors import Float64Array, Prior
from ferjax.scaling import Scaling, sum_to_one


@dataclass(frozen=True, kw_only=True, eq=False)
class Confidence:
    """What is known of weights that says how far their probabilities can be taken at their word;
    the attributes are those of `EmotionClassifier`.
    """

    labels: tuple[str, ...]
    head: Head
    scaling: Scaling | None
    training_frequencies: Float64Array | None
    metadata: Mapping[str, Any]

    def prior_after(self, scaling: Scaling | None) -> Float64Array | None:
        """Return what `EmotionClassifier.prior_after` says."""
        if scaling is not None and scaling.prior is not None:
            return priors.shares(scaling.prior, self.labels, name="the calibration's prior")
        if self.training_frequencies is not None:
            return self.training_frequencies
        if scaling is not None and scaling.offsets is not None:  # for none that is recorded
            return None
        names = metadata.class_names(self.metadata, self.labels)
        return priors.of_metadata(self.metadata, names)

    def check(self, *, calibrated: bool, prior: Prior) -> None:
        """Raise where probabilities cannot be calibrated, or not hold for a prior."""
        if calibrated:
            self.require_temperature()
        if priors.is_training(prior):
            return
        priors.check(prior, self.labels)
        if self.head.activation == "sigmoid" and not self.head.is_single_unit:
            raise FerjaxError(
                "expected outputs that sum to 1 for a prior other than 'training', as softmax's "
                "do; these are of sigmoids, each a yes or no of its own"
            )
        if self.prior_after(self.scaling) is None:
            raise priors.unknown()

    def require_temperature(self) -> float:
        """Return the temperature, or raise a FerjaxError that says how to get one."""
        if self.scaling is None:
            raise FerjaxError(
                "the weights come without a temperature; `ferjax calibrate` fits one on "
                "validation images and stores it with them"
            )
        return self.scaling.temperature

    def calibrated(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return probabilities, (B, K), calibrated where the weights have a calibration.

        Raises:
            FerjaxError: they do not sum to 1.
        """
        if self.scaling is None:
            return probabilities
        if not sum_to_one(probabilities):
            raise FerjaxError(
                "expected outputs that sum to 1, as softmax's do; others cannot be calibrated"
            )
        return self.scaling(probabilities) if len(probabilities) else probabilities

    def with_prior(
        self, probabilities: npt.NDArray[np.float32], prior: Prior
    ) -> tuple[npt.NDArray[np.float32], Float64Array]:
        """Return what probabilities become under a prior other than "training", and its shares.

        Raises:
            PriorError: there are too few images to adapt to.
            FerjaxError: the probabilities are not (B, K), or do not sum to 1.
        """
        probabilities = np.asarray(probabilities)
        if probabilities.shape[1:] != (len(self.labels),):
            raise FerjaxError(
                f"expected `probabilities` (B, {len(self.labels)}), got {probabilities.shape}"
            )
        if not sum_to_one(probabilities):
            raise FerjaxError(
                "expected outputs that sum to 1, as softmax's do; of others a prior says nothing"
            )
        if self.scaling is None:
            warn_caller(
                "the weights have no calibration, and a prior is exact on calibrated probabilities "
                "only; `ferjax calibrate` stores one with them",
                PriorWarning,
            )
        old = self.prior_after(self.scaling)
        assert old is not None  # checked
        new = priors.wanted(prior, self.labels)
        if new is None:
            new = priors.estimate(probabilities, old)
        return priors.apply(probabilities, old, new), new
