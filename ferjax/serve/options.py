"""The options of a request, as they are sent, as what `ferjax faces` and `ferjax predict` take.

In JSON they have JSON's types; in forms and addresses they are texts: `largest=true`,
`prior=happy=4,sad=1,...`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ferjax import priors
from ferjax.errors import FerjaxError, near_misses, printable
from ferjax.faces.options import FaceOptions
from ferjax.serve.bodies import is_flat
from ferjax.serve.refusals import Refusal

if TYPE_CHECKING:
    from ferjax.classifier import EmotionClassifier


def _real(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError("a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("a finite number")
    return number


def _real_or_none(value: Any) -> float | None:
    return None if value is None or value == "" else _real(value)


def _truth(value: Any) -> bool:
    texts = {"true": True, "1": True, "false": False, "0": False}
    truth = texts.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(truth, bool):
        raise ValueError("true or false")
    return truth


def _word(*words: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in words:
            raise ValueError(" or ".join(map(repr, words)))
        return str(value)

    return convert


def _prior(value: Any) -> priors.Prior:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("a JSON object of shares by class") from None
        if not is_flat(value):
            raise ValueError("a JSON object of shares by class")
    if isinstance(value, str):
        value = priors.parse(value)
    if isinstance(value, str) and value == priors.ADAPT:
        raise ValueError(
            "'training', 'uniform' or shares by class, for 'adapt' needs all faces together"
        )
    if not isinstance(value, str | Mapping):
        raise ValueError("'training', 'uniform' or shares by class")
    return value


PREDICT: Final[dict[str, Callable[[Any], Any]]] = {
    "resize": _word("area", "linear"),
    "calibrated": _truth,
    "prior": _prior,
    "abstain_below": _real,
}
FACES: Final[dict[str, Callable[[Any], Any]]] = {
    "min_score": _real,
    "min_size": _real_or_none,
    "largest": _truth,
    "order": _word("reading", "size"),
    **PREDICT,
}


def faces(options: Mapping[str, Any], classifier: EmotionClassifier) -> FaceOptions:
    """Return the options of a request for faces.

    Raises:
        Refusal: one is unknown, or out of range, or not for these weights.
    """
    return _checked(_converted(options, FACES), classifier)


def predict(options: Mapping[str, Any], classifier: EmotionClassifier) -> FaceOptions:
    """Return the options of a request that takes each picture for one face; see `faces`."""
    return _checked({"resize": "linear", **_converted(options, PREDICT)}, classifier)


def _converted(
    options: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    values = {}
    for name, value in options.items():
        if name not in known:
            raise Refusal(
                "invalid-option",
                f"{printable(name, 100)}: no option; expected {', '.join(known)}"
                f"{near_misses(name, known)}",
            )
        try:
            values[name] = known[name](value)
        except FerjaxError as error:
            raise Refusal("invalid-option", str(error)) from None
        except ValueError as error:
            raise Refusal(
                "invalid-option", f"expected {error} for `{name}`, got {_shown(value)}"
            ) from None
    return values


def _shown(value: Any) -> str:
    return printable(repr(value), 80)


def _checked(values: Mapping[str, Any], classifier: EmotionClassifier) -> FaceOptions:
    options = FaceOptions(**values)
    try:
        options.check_values(classifier)
    except (FerjaxError, ValueError) as error:
        raise Refusal("invalid-option", str(error)) from None
    return options
