"""Layers that Keras keeps beside the networks of `keras.applications`."""

from __future__ import annotations

from collections.abc import Mapping

from ferjax import settings
from ferjax.frozen import frozen
from ferjax.nets.initializers import Initializer
from ferjax.nets.layers.base import Array, Layer, Run, Shape, Weight, ops
from ferjax.settings import setting


@frozen
class LayerScale(Layer):
    """ConvNeXt's: each channel times a learned factor (Touvron et al., arXiv 2103.17239)."""

    init_values: float = setting(settings.real, 1e-6)
    projection_dim: int = setting(settings.positive_int)

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        if not shape or shape[-1] != self.projection_dim:
            raise self.error(f"expected inputs of {self.projection_dim} channels, got {shape}")
        initializer = Initializer("constant", (("value", self.init_values),))
        # Keras 3 gives it no name.
        return (Weight("gamma", ("gamma", "variable"), (self.projection_dim,), initializer),)

    def forward(self, run: Run, weights: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0] * ops.along_axis(weights["gamma"], inputs[0].ndim, -1)
