"""Options for XLA's compiler where its defaults are slow."""

from __future__ import annotations

from functools import lru_cache

import jax


@lru_cache(maxsize=1)
def compiler_options() -> dict[str, str]:
    """Return what to give `jax.jit(..., compiler_options=...)` on the default device.

    On CPUs XLA leaves convolutions to YNNPACK, which on wide feature maps takes three times as long
    as XLA's own code: 270 ms against 75 for 64 images of 46x46, 64 to 64 channels, on two cores.
    Without it fer_cnn8 predicts twice as fast, with the same probabilities to 2e-8.
    """
    if jax.default_backend() != "cpu":
        return {}
    # What stays with YNNPACK: products of matrices, and sums, which it adds up more exactly.
    kept = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    options = {"xla_cpu_experimental_ynn_fusion_type": kept}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # another version of XLA, which does not know it
        return {}
    return options
