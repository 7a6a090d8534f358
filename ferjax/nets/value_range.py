"""What black and white are to a network, as far as its layers and their statistics tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ferjax.nets.layers import Layer
from ferjax.settings import Range

if TYPE_CHECKING:
    from ferjax.nets.graph import Graph
    from ferjax.nets.layers import BatchNormalization, Normalization

UNIT, SIGNED, BYTES = (0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)
_MOST_SCALINGS = 4096  # by which pixels may be scaled and shifted before it is not followed
_SLACK = 0.02  # of a range's width, for statistics that are rounded or moving averages


def of_layers(graph: Graph) -> Range:
    """Return the range that the arithmetic before the first weights tells.

    [0, 255] before a scaling by about 1/255 or the subtraction of gray levels, [-1, 1] before the
    addition of 1, else [0, 1].
    """
    # Of each call that only scales and shifts pixels: by which (scale, offset), all it has.
    scaled: dict[int, frozenset[tuple[float, float]]] = {0: frozenset({(1.0, 0.0)})}
    ends: set[tuple[float, float]] = set()
    for position, call in enumerate(graph.calls[1:], start=1):
        pixels = [scaled[i] for i in call.inputs if i in scaled]
        before = frozenset(pair for pairs in pixels for pair in pairs)
        affine = graph.by_name[call.layer].affine() if before else None
        after: frozenset[tuple[float, float]] = frozenset()
        if affine is not None and len(pixels) == len(call.inputs):
            after = frozenset((s * a, o * a + b) for s, o in before for a, b in affine)
        if after and len(after) <= _MOST_SCALINGS:
            scaled[position] = after
        else:
            ends |= before
    ends |= scaled.get(len(graph.calls) - 1, frozenset())
    pairs = [(scale, offset) for scale, offset in ends if scale]
    if not pairs:
        return UNIT
    black = [-offset / scale for scale, offset in pairs]  # what becomes 0
    if all(abs(scale) < 0.1 for scale, _ in pairs) or max(black) > 2:
        return BYTES
    return SIGNED if all(abs(value + 1) < 1e-6 for value in black) else UNIT


def of_statistics(graph: Graph, variables: Mapping[str, Any]) -> Range | None:
    """Return the range of the images whose mean and variance the network begins with.

    Values between a and b of mean m have a variance of at most (b - m) (m - a) (Bhatia and Davis,
    2000): what exceeds it rules a range out. Of [0, 1], [-1, 1] and [0, 255] the narrowest that is
    left is returned.

    Args:
        variables: {"params", "batch_stats"}.

    Returns:
        The range; None where the network does not begin with a Normalization or a
        BatchNormalization that has seen images.

    Raises:
        LayerError: the statistics fit none of the three.
    """
    # Here, for what is kept of a network has its range, and it may have none of these.
    from ferjax.nets.layers import BatchNormalization, Normalization, Rescaling

    layer = _first(graph, Rescaling, Normalization, BatchNormalization)
    if not isinstance(layer, Normalization | BatchNormalization):
        return None
    mean, variance = _statistics(layer, variables)
    if mean is None or variance is None or (not mean.any() and (variance == 1).all()):
        return None
    if isinstance(layer, BatchNormalization):
        # Moving averages set out from 0 and 1, and may be on the way: the variance tells less.
        for low, high in (UNIT, SIGNED):
            slack = _SLACK * (high - low)
            if (mean >= low - slack).all() and max(mean.max(), variance.max()) <= 1 + slack:
                return low, high
        return BYTES if (mean >= -_SLACK * 255).all() and mean.max() <= 255 * (1 + _SLACK) else None
    for low, high in (UNIT, SIGNED, BYTES):
        slack = _SLACK * (high - low)
        most = (high - mean + slack) * (mean - low + slack)
        if ((mean >= low - slack) & (mean <= high + slack) & (variance <= most)).all():
            return low, high
    raise layer.error(
        f"it was adapted to values of mean {mean.mean():.4g} and variance {variance.mean():.4g}, "
        "which images in [0, 1], [-1, 1] and [0, 255] do not have: give value_range=(black, "
        "white) (--value-range BLACK WHITE)"
    )


def _first(graph: Graph, *kinds: type[Layer]) -> Layer | None:
    """Return the first layer of some kinds that sees the images before any other with weights."""
    for position, call in enumerate(graph.calls[1:]):
        layer = graph.by_name[call.layer]
        if call.inputs != (position,):
            return None
        if isinstance(layer, kinds):
            return layer
        if layer.name in graph.weights:
            return None
    return None


def _statistics(
    layer: Normalization | BatchNormalization, variables: Mapping[str, Any]
) -> tuple[npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None]:
    from ferjax.nets.layers import Normalization

    stored = (variables.get("batch_stats") or {}).get(layer.name) or {}
    mean, variance = stored.get("mean"), stored.get("var")
    if isinstance(layer, Normalization):
        if layer.invert:
            return None, None
        if layer.mean is not None:
            mean, variance = layer.mean, layer.variance
    if mean is None or variance is None:
        return None, None
    return np.asarray(mean, np.float64), np.asarray(variance, np.float64)
