"""Options for XLA's compiler where its defaults are slow."""

from __future__ import annotations

from functools import lru_cache

import jax


@lru_cache(maxsize=2)
def compiler_options(*, single_image: bool = False) -> dict[str, str]:
    """Return what to give `jax.jit(..., compiler_options=...)` on the default device.

    On CPUs XLA leaves convolutions and products of matrices to YNNPACK. On wide feature maps that
    takes three times as long as XLA's own code: 270 ms against 75 for 64 images of 46x46, 64 to 64
    channels, on two cores; products in batches take up to twice as long. For a `single_image`
    YNNPACK is faster on maps of 5x5, where reading the kernels is the work: 0.6 ms against 1.0.
    """
    if jax.default_backend() != "cpu":
        return {}
    # Sums stay with YNNPACK, which adds them up more exactly.
    kept = ["REDUCE", *(["INDIVIDUAL_CONVOLUTION"] if single_image else [])]
    types = ",".join(f"LIBRARY_FUSION_TYPE_{name}" for name in kept)
    options = {"xla_cpu_experimental_ynn_fusion_type": types}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # another version of XLA, which does not know it
        return {}
    return options
