"""Fit a temperature, and perhaps an offset of each class, to images' own labels or to shares of
votes (Guo et al., ICML 2017, arXiv 1706.04599); `ferjax.scaling` applies them.

Dimension keys: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ferjax.errors import DataError
from ferjax.scaling import Scaling

FOLDS: Final = 5
_LIMITS: Final = (0.05, 20.0)  # of a temperature
_FARTHEST: Final = 12.0  # offset, beyond which the images ask for ever more
_NOTHING: Final = 1e-6  # nats, below which nothing is left to fit

Floats = npt.NDArray[np.floating]
Numbers = npt.NDArray[np.integer] | Floats
Float64Array = npt.NDArray[np.float64]


def fits(
    shares: Float64Array, probabilities: Floats, method: str, class_names: Sequence[str]
) -> dict[str, tuple[Scaling, Floats]]:
    """Return by kind what fits, and probabilities by what was fitted on the other images.

    Args:
        shares: (N, K), what is to be fitted to; rows sum to 1.
        probabilities: (N, K), as the network says.
        method: "temperature", "vector" or "auto", as for `calibrate`; but for the first both kinds
            are tried.
        class_names: K.

    Returns:
        by "temperature" and "vector", what fits all images; and float32 (N, K), each row calibrated
        by a fit to the other four fifths of the images. A kind that does not fit is left out.

    Raises:
        DataError: nothing fits; that offsets do not, where they are asked for.
    """
    fitted: dict[str, tuple[Scaling, Floats]] = {}
    for kind in ("temperature",) if method == "temperature" else ("vector", "temperature"):
        try:
            if kind == "vector":
                _check_classes(shares, class_names)
                fitted[kind] = _cross_fitted(shares, probabilities, fit_vector)
            else:
                fitted[kind] = _cross_fitted(
                    shares, probabilities, lambda s, p: Scaling(temperature=fit_temperature(s, p))
                )
        except DataError:  # of another kind than is asked for it does not matter
            if kind == method or (method == "auto" and kind == "temperature" and not fitted):
                raise
    return fitted


def fit_temperature(labels: Numbers, probabilities: Floats) -> float:
    """Return the temperature of the lowest negative log-likelihood.

    Args:
        labels: int (N,), in [0, K), or the share of each class, (N, K), whose rows sum to 1.
        probabilities: (N, K), whose rows sum to 1.

    Raises:
        DataError: there is none: the likelihood goes on growing towards 0 or infinity.
    """
    from scipy.optimize import minimize_scalar

    logits, shares = _logits(probabilities), shares_of(labels, probabilities.shape[1])

    def loss(log_temperature: float) -> float:
        return _cross_entropy(shares, logits / np.exp(log_temperature))

    limits = tuple(np.log(_LIMITS))
    optimum = minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-6}).x
    low, high = (abs(optimum - end) < 1e-3 for end in limits)
    if low or high:
        raise _no_temperature(len(logits), low)
    return float(np.exp(optimum))


def fit_vector(labels: Numbers, probabilities: Floats) -> Scaling:
    """Return the temperature and the offsets of the lowest negative log-likelihood.

    The calibrated probabilities then hold for the classes as common as they are here, which the
    `prior` of what is returned says: their means are these shares.

    Args:
        labels, probabilities: as for `fit_temperature`.

    Raises:
        DataError: there are none: a class has no image, or the likelihood goes on growing.
    """
    from scipy.optimize import minimize
    from scipy.special import softmax

    classes = probabilities.shape[1]
    logits, shares = _logits(probabilities), shares_of(labels, classes)
    common = shares.mean(0)
    if not common.min() > 0:
        raise DataError(
            "expected images of every class for offsets, got none of one; --method temperature "
            "(method=) does without them"
        )

    def loss(x: Float64Array) -> tuple[float, Float64Array]:
        # Convex in 1 / T and the offsets.
        scaled = logits * x[0] + x[1:]
        over = softmax(scaled, axis=1) - shares
        gradient = np.concatenate([[(over * logits).sum(1).mean()], over.mean(0)])
        return _cross_entropy(shares, scaled), gradient

    low, high = 1 / _LIMITS[1], 1 / _LIMITS[0]
    bounds = [(low, high)] + [(-_FARTHEST, _FARTHEST)] * classes
    start = np.concatenate([[1.0], np.zeros(classes)])
    options = {"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9}
    optimum = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    factor, offsets = float(optimum.x[0]), optimum.x[1:] - optimum.x[1:].mean()
    is_right = optimum.fun < _NOTHING  # about all of them, the surer the better
    if is_right or not low * 1.001 < factor < high / 1.001:
        raise _no_temperature(len(logits), is_right or factor > 1)
    if np.abs(optimum.x[1:]).max() > 0.999 * _FARTHEST:
        raise DataError(
            f"no offset is best for these {len(logits):,} images: the further a class is moved the "
            "better; too few of it, perhaps; --method temperature (method=) does without offsets"
        )
    return Scaling(
        temperature=1 / factor,
        offsets=tuple(offsets.tolist()),
        prior=tuple((common / common.sum()).tolist()),
    )


def shares_of(labels: npt.NDArray[Any], classes: int) -> Float64Array:
    """Return the share of each class, (N, K), of labels, (N,); shares are returned as they are."""
    return np.eye(classes)[labels] if labels.ndim == 1 else np.asarray(labels, np.float64)


def _logits(probabilities: Floats) -> Float64Array:
    # In float32 a softmax leaves nothing of logits 100 and more below the highest.
    return np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-45))


def _cross_entropy(shares: Float64Array, logits: Float64Array) -> float:
    """Return the mean over images, in nats."""
    from scipy.special import log_softmax

    return float(-(shares * log_softmax(logits, axis=1)).sum(1).mean())


def negative_log_likelihood(shares: Float64Array, probabilities: Floats) -> float:
    """Return the mean over images, in nats; against shares it is their cross-entropy."""
    return _cross_entropy(shares, _logits(probabilities))


def _no_temperature(images: int, low: bool) -> DataError:
    why = "the labels may be in another order than the network's, or the images too few"
    if low:  # the surer the better
        why = "the network is right about them, so that only more images can say how sure it is"
    return DataError(
        f"no temperature between {_LIMITS[0]} and {_LIMITS[1]:g} is best for these "
        f"{images:,} images; {why}"
    )


def _check_classes(shares: Float64Array, class_names: Sequence[str]) -> None:
    lacking = [name for name, total in zip(class_names, shares.sum(0)) if not total > 0]
    if lacking:
        raise DataError(
            f"expected images of every class for offsets, got none of {', '.join(lacking)}; "
            "--method temperature (method=) does without them"
        )


def _cross_fitted(
    shares: Float64Array,
    probabilities: Floats,
    fit: Callable[[Float64Array, npt.NDArray[Any]], Scaling],
) -> tuple[Scaling, Floats]:
    """Return what fits all images, and their probabilities by fits to the other images."""
    whole = fit(shares, probabilities)
    scaled = np.empty_like(probabilities)
    fold = np.random.default_rng(0).permutation(len(shares)) % min(FOLDS, len(shares))
    for number in np.unique(fold):
        held, others = fold == number, fold != number
        if not others.any():
            others = held
        try:
            scaled[held] = fit(shares[others], probabilities[others])(probabilities[held])
        except DataError:  # all of them together had one
            raise DataError(
                f"too few images to calibrate on, {len(shares):,}: without a part of them no "
                f"{whole.method.removesuffix(' scaling').replace('vector', 'offset')} is best; "
                "expected more validation images that are no copies of training images"
            ) from None
    return whole, scaled
