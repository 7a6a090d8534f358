"""Initial values of weights and penalties on them, as data in Keras's words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ferjax._lazy import LazyModule
from ferjax.errors import LayerError, near_misses
from ferjax.settings import invalid, text

if TYPE_CHECKING:
    import jax
else:
    jax = LazyModule("jax")

# Well-known settings of variance_scaling, under names of their own.
SCHEMES: dict[str, dict[str, Any]] = {
    f"{name}_{kind}": {"scale": scale, "mode": mode, "distribution": distribution}
    for name, scale, mode in (
        ("glorot", 1.0, "fan_avg"),
        ("he", 2.0, "fan_in"),
        ("lecun", 1.0, "fan_in"),
    )
    for kind, distribution in (("uniform", "uniform"), ("normal", "truncated_normal"))
}
# Keras's names, with the settings that each takes and their defaults. The published truncated
# normals are cut at two standard deviations and rescaled, as jax.nn.initializers does.
SETTINGS: dict[str, dict[str, Any]] = {
    "zeros": {},
    "ones": {},
    "constant": {"value": 0.0},
    "random_normal": {"mean": 0.0, "stddev": 0.05},
    "random_uniform": {"minval": -0.05, "maxval": 0.05},
    "truncated_normal": {"mean": 0.0, "stddev": 0.05},
    "variance_scaling": {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
    "orthogonal": {"gain": 1.0},
    "identity": {"gain": 1.0},
    **{name: {} for name in SCHEMES},
}
# The settings that are words.
_CHOICES = {
    "mode": ("fan_in", "fan_out", "fan_avg"),
    "distribution": ("truncated_normal", "untruncated_normal", "uniform"),
}


@dataclass(frozen=True)
class Initializer:
    """Describe how a weight is drawn: a name of `SETTINGS` and its settings, in sorted order."""

    name: str
    settings: tuple[tuple[str, float | str], ...] = ()

    def __post_init__(self) -> None:
        if self.name not in SETTINGS:
            hint = near_misses(self.name, SETTINGS)
            raise LayerError(
                f"expected an initializer among {sorted(SETTINGS)}, got {self.name!r}{hint}"
            )
        unknown = sorted(set(dict(self.settings)) - set(SETTINGS[self.name]))
        if unknown:
            raise LayerError(f"initializer {self.name!r} takes no setting {', '.join(unknown)}")
        for key, value in self.settings:
            choices = _CHOICES.get(key)
            # A bound rather than isfinite, which fails at integers beyond any float.
            number = isinstance(value, int | float) and abs(value) < 1e38
            if value not in choices if choices else not number:
                expected = f"one of {', '.join(choices)}" if choices else "a finite number"
                raise LayerError(
                    f"initializer {self.name!r}: expected {expected} for {key}, got {value!r}"
                )

    @classmethod
    def of(cls, value: Any) -> Initializer:
        """Return an initializer as it is, or the one of a name: the converter of a setting."""
        return value if isinstance(value, Initializer) else cls(text(value))

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = "float32") -> jax.Array:
        """Draw a weight of `shape`; kernels are (..., in, out), as in Keras."""
        return self._function(shape)(key, shape, dtype)

    def _function(self, shape: tuple[int, ...]) -> Callable[..., jax.Array]:
        init = jax.nn.initializers
        s = {**SETTINGS[self.name], **dict(self.settings)}
        if self.name in ("zeros", "ones"):
            return getattr(init, self.name)
        ndim = len(shape)
        if (self.name == "identity" and ndim != 2) or (self.name == "orthogonal" and ndim < 2):
            raise LayerError(f"initializer {self.name!r} cannot draw a weight of shape {shape}")
        if self.name == "constant":
            return init.constant(s["value"])
        if self.name == "random_normal":
            normal = init.normal(s["stddev"])
            return lambda key, shape, dtype: s["mean"] + normal(key, shape, dtype)
        if self.name == "random_uniform":
            return lambda key, shape, dtype: jax.random.uniform(
                key, shape, dtype, s["minval"], s["maxval"]
            )
        if self.name == "truncated_normal":
            truncated = init.truncated_normal(s["stddev"])
            return lambda key, shape, dtype: s["mean"] + truncated(key, shape, dtype)
        if self.name == "orthogonal":
            return init.orthogonal(s["gain"])
        if self.name == "identity":
            return lambda key, shape, dtype: (
                s["gain"] * jax.numpy.eye(shape[0], shape[1], dtype=dtype)
            )
        return _variance_scaling(ndim < 2, **SCHEMES.get(self.name, s))


def _variance_scaling(
    vector: bool, scale: float, mode: Any, distribution: Any
) -> Callable[..., jax.Array]:
    distribution = {"untruncated_normal": "normal"}.get(distribution, distribution)
    init = jax.nn.initializers.variance_scaling
    if not vector:
        return init(scale, mode, distribution)
    # Keras takes the size of a vector for its fan_in and its fan_out.
    column = init(scale, "fan_in", distribution)
    return lambda key, shape, dtype: column(key, (math.prod(shape), 1), dtype).reshape(shape)


@dataclass(frozen=True)
class L1L2:
    """Describe a penalty on a weight: l1 * sum(|w|) + l2 * sum(w^2)."""

    l1: float = 0.0
    l2: float = 0.0

    @classmethod
    def of(cls, value: Any) -> L1L2 | None:
        """Return a penalty or None as it is: the converter of a setting."""
        if value is not None and not isinstance(value, L1L2):
            raise invalid("an L1L2 penalty or None", value)
        return value


ZEROS = Initializer("zeros")
ONES = Initializer("ones")
GLOROT_UNIFORM = Initializer("glorot_uniform")
