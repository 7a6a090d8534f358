"""Probabilities over time: each face's, made steadier by those before it.

Both methods look back only, count in seconds and not in frames, and take frames at any distance.

- "exponential": the moving average whose weights fall to a third in `smooth` seconds, of a series
  at irregular times (Eckner, "Algorithms for Unevenly Spaced Time Series: Moving Averages and Other
  Rolling Operators", 2012: EMA_next).
- "hmm": the forward algorithm of a hidden Markov model (Rabiner, "A Tutorial on Hidden Markov
  Models", Proceedings of the IEEE 1989) in continuous time. The expression changes at the rates of
  `transition`, the chance of a class after t seconds being expm(t * rates); what the network says
  of a frame, over how common the class is in general, is the likelihood. Neighbouring frames are
  taken for independent, which they are not, so that it soon becomes very sure.

Dimension keys: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import FerjaxError
from ferjax.faces.detection import is_number

METHODS: Final = ("exponential", "hmm")
SMOOTH: Final = 0.2  # seconds; more loses at changes what it gains between them
_LEAST: Final = 1e-4  # a probability below which the network is not believed; it never says never
_FASTEST: Final = 1e6  # changes a second; faster ones are over between any two frames
_KEPT: Final = 64  # of expm's results; times in a film are mostly equally far apart

Row = npt.NDArray[np.float32]


class Smoother:
    """Smooths the probabilities of faces, track by track."""

    def __init__(
        self,
        classes: int,
        *,
        smooth: float = SMOOTH,
        method: str = "exponential",
        transition: Any = None,
        shares: npt.ArrayLike | None = None,
    ) -> None:
        """Begin without tracks.

        Args:
            classes: K.
            smooth: seconds; 0: probabilities stay as they are. For "hmm", how long an expression
                lasts on average before another one takes its place.
            method: "exponential" or "hmm".
            transition: for "hmm", changes a second from each class (rows) to each (columns), float
                (K, K), of which the diagonal does not count; None: all others are as likely.
            shares: for "hmm", how common each class is where the probabilities hold, (K,); None:
                as the others.

        Raises:
            ValueError: an option is out of range.
            FerjaxError: a transition is not of K classes, or has negative rates.
        """
        if not (is_number(smooth) and smooth >= 0):
            raise ValueError(f"expected seconds from 0 on for `smooth`, got {smooth!r}")
        check_method(method)
        if transition is not None and method != "hmm":
            raise FerjaxError("`transition` is for smoothing='hmm'")
        self._smooth, self._method = float(smooth), method
        self._rates = rates_of(transition, classes, smooth) if method == "hmm" and smooth else None
        common = np.full(classes, 1 / classes) if shares is None else np.asarray(shares, float)
        self._shares = common
        self._chances: dict[float, npt.NDArray[np.float64]] = {}
        self._last: dict[int, tuple[float, npt.NDArray[np.float64]]] = {}  # by track

    def smoothed(self, track: int, time: float, row: Row) -> Row:
        """Return a face's probabilities, (K,), from its own and those of its track before.

        Args:
            track: the face's track.
            time: seconds; later than the track's last.
            row: the face's own probabilities, (K,).
        """
        if not self._smooth:
            return row
        own = row.astype(np.float64)
        if track not in self._last:
            value = own if self._rates is None else self._seen(self._shares, own)
        else:
            before, last = self._last[track]
            seconds = max(0.0, time - before)
            if self._rates is None:
                value = last + -np.expm1(-seconds / self._smooth) * (own - last)
            else:
                value = self._seen(last @ self._after(seconds), own)
        self._last[track] = (time, value)
        return value.astype(np.float32)

    def keep(self, tracks: set[int]) -> None:
        """Forget all tracks but these."""
        self._last = {track: last for track, last in self._last.items() if track in tracks}

    def _seen(
        self, expected: npt.NDArray[np.float64], own: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the chances of the classes once a frame was seen, (K,)."""
        likelihood = np.maximum(own, _LEAST) / self._shares
        chances = expected * likelihood
        return np.asarray(chances / chances.sum())

    def _after(self, seconds: float) -> npt.NDArray[np.float64]:
        """Return the chance of each class (columns) some seconds after each (rows), (K, K)."""
        key = round(seconds, 6)
        if key not in self._chances:
            from scipy.linalg import expm

            if len(self._chances) >= _KEPT:
                self._chances.clear()
            assert self._rates is not None
            self._chances[key] = np.asarray(expm(self._rates * key), np.float64)
        return self._chances[key]

    def state(self) -> list[Any]:
        """Return all that is known, as JSON has it."""
        return [[track, time, value.tolist()] for track, (time, value) in self._last.items()]

    def restore(self, state: Sequence[Any]) -> None:
        """Go on from what `state` gave."""
        self._last = {track: (time, np.array(value)) for track, time, value in state}


def check_method(method: str) -> None:
    """Raise a ValueError where there is no such method of smoothing."""
    if method not in METHODS:
        raise ValueError(f"expected {' or '.join(METHODS)} for `smoothing`, got {method!r}")


def rates_of(transition: Any, classes: int, smooth: float) -> npt.NDArray[np.float64]:
    """Return the rates of changes a second, float64 (K, K), whose rows sum to 0.

    Raises:
        FerjaxError: they are not of K classes, or negative.
    """
    rates: npt.NDArray[np.float64]
    if transition is None:
        rates = np.full((classes, classes), min(1 / smooth, _FASTEST) / max(1, classes - 1))
    else:
        try:
            rates = np.array(transition, np.float64)
        except (TypeError, ValueError):
            rates = np.zeros((0, 0))
        if rates.shape != (classes, classes):
            raise FerjaxError(
                f"expected rates ({classes}, {classes}) for `transition`, changes a second from "
                f"each class to each, got shape {rates.shape}"
            )
    np.fill_diagonal(rates, 0)
    if not np.isfinite(rates).all() or rates.min(initial=0) < 0:
        raise FerjaxError("expected finite rates from 0 on for `transition`, changes a second")
    rates = np.minimum(rates, _FASTEST)
    np.fill_diagonal(rates, -rates.sum(axis=1))
    return rates
