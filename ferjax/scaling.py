"""What makes probabilities calibrated: a temperature, and perhaps an offset of each class (Guo et
al., ICML 2017, arXiv 1706.04599).

Dimension keys: B images, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ferjax.errors import FerjaxError


def sum_to_one(probabilities: npt.NDArray[np.floating]) -> bool:
    """Whether rows, (B, K), are distributions, as a softmax's are and those of sigmoids are not.

    >>> sum_to_one(np.array([[0.8, 0.2]])), sum_to_one(np.array([[0.8, 0.7]]))
    (True, False)
    """
    return bool(np.allclose(probabilities.sum(1), 1, rtol=0, atol=1e-3))


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Calibrated probabilities are softmax(log p / temperature + offsets).

    Attributes:
        temperature: what the logits are divided by, positive; above 1 where the network is too
            sure of itself. Alone it leaves the order of the classes as it is.
        offsets: K numbers in output order that are added then, or None; they may change which class
            is the most probable.
        prior: with offsets, how common each class was among the images that they were fitted on,
            K shares in output order: what the calibrated probabilities hold for, whatever the
            network was trained on. None: not known.
    """

    temperature: float
    offsets: tuple[float, ...] | None = None
    prior: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        t = self.temperature
        if (
            isinstance(t, bool)
            or not isinstance(t, (int, float, np.number))
            or not 0 < t < math.inf
        ):
            raise FerjaxError(f"expected a positive temperature, got {t!r}")
        if self.offsets is not None and not all(map(math.isfinite, self.offsets)):
            raise FerjaxError(f"expected finite offsets, got {self.offsets!r:.100}")

    @property
    def method(self) -> str:
        """What it is called."""
        return "temperature scaling" if self.offsets is None else "vector scaling"

    @property
    def keeps_order(self) -> bool:
        """Whether the most probable class stays the most probable of every image."""
        return self.offsets is None

    def __call__(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities, float32 (B, K).

        >>> Scaling(temperature=1.0, offsets=(0.0, float(np.log(4))))(
        ...     np.array([[0.8, 0.2]], np.float32)
        ... ).tolist()
        [[0.5, 0.5]]
        """
        if self.offsets is None and self.temperature == 1:
            return probabilities
        with np.errstate(divide="ignore"):  # a probability of 0 stays 0
            scaled = np.log(probabilities.astype(np.float64)) / self.temperature
        if self.offsets is not None:
            scaled = scaled + np.asarray(self.offsets)
        raised = np.exp(scaled - scaled.max(1, keepdims=True))
        return np.asarray(raised / raised.sum(1, keepdims=True), np.float32)

    def take(self, order: Any) -> Scaling:
        """Return it for classes in another order, K positions.

        >>> Scaling(temperature=2.0, offsets=(1.0, 0.0)).take([1, 0]).offsets
        (0.0, 1.0)
        """

        def taken(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
            return None if values is None else tuple(values[index] for index in order)

        return Scaling(
            temperature=self.temperature, offsets=taken(self.offsets), prior=taken(self.prior)
        )

    def __str__(self) -> str:
        offsets = "" if self.offsets is None else f" and {len(self.offsets)} offsets"
        return f"temperature {self.temperature:.3f}{offsets}"
