"""What is said of one image."""

from __future__ import annotations

from dataclasses import dataclass

from ferjax.errors import FerjaxError


@dataclass(frozen=True)
class Prediction:
    """What the network says of one image.

    Attributes:
        label: the most probable class; None where it abstains.
        index: its position in the network's output; None where it abstains.
        confidence: the highest probability, in [0, 1]; calibrated where that was asked for.
        probabilities: by label, in output order.
    """

    label: str | None
    index: int | None
    confidence: float
    probabilities: dict[str, float]


def check_threshold(abstain_below: float) -> None:
    """Raise a FerjaxError unless a threshold of confidence is in [0, 1]."""
    try:
        is_fraction = bool(0 <= abstain_below <= 1)
    except (TypeError, ValueError):
        is_fraction = False
    if not is_fraction:
        raise FerjaxError(f"expected `abstain_below` in [0, 1], got {abstain_below!r}")
