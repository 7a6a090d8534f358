"""XLA's compiler: options where its defaults are slow, and what it has compiled before."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import platform
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ferjax import hardware
from ferjax._lazy import LazyModule
from ferjax.files import user_cache

jax: Any = LazyModule("jax")  # what predicts without it need not wait for it

# What takes longer to compile is kept. To find it again takes 20 ms; to compile the program for few
# images, as those of a start, 220.
_LEAST_SECONDS: Final = 0.05

_waiting: contextlib.ExitStack | None = None  # of a `compile_cache` from before jax was imported


@lru_cache(maxsize=2)
def compiler_options(*, is_quick: bool = False) -> dict[str, str | bool | int]:
    """Return what to give `jax.jit(..., compiler_options=...)` on the default device.

    On CPUs XLA leaves convolutions and products of matrices to YNNPACK. On wide feature maps that
    takes three times as long as XLA's own code: 270 ms against 75 for 64 images of 46x46, 64 to 64
    channels, on two cores; products in batches take up to twice as long.

    Args:
        is_quick: compile in half the time and less memory, with XLA's older code for what it fuses,
            which that of JAX 0.12 has no more. Single images and training steps of `fer_cnn8` take
            as long with it, predictions in batches a fifth longer.

    Raises:
        BackendError: there is no default device.
    """
    hardware.check_backend()  # the first to need a device, as a rule
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, str | bool | int] = {
        # Sums stay with YNNPACK, which adds them up more exactly.
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
        # As wide as the CPU has them; LLVM would leave AVX-512 half empty.
        "xla_cpu_prefer_vector_width": "512",
    }
    if is_quick:
        # In as many parts as keep the cores busy; each part has some work of its own.
        parts = 4 * hardware.cores()
        quick = {
            **options,
            "xla_cpu_use_fusion_emitters": False,
            "xla_cpu_parallel_codegen_split_count": parts,
        }
        return quick if _knows(quick) else compiler_options()
    if _knows(options):
        return options
    return {name: value for name, value in options.items() if _knows({name: value})}


def _knows(options: dict[str, str | bool | int]) -> bool:
    """Whether this version of XLA has these options."""
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


@contextlib.contextmanager
def compile_cache() -> Iterator[None]:
    """Keep compiled code between processes, so that a second start does not compile.

    Where jax is not imported yet, it is kept from `begin_keeping` on.
    """
    global _waiting
    with contextlib.ExitStack() as stack:
        if "jax" in sys.modules:
            stack.enter_context(_kept())
        else:
            _waiting = stack
        try:
            yield
        finally:
            _waiting = None


def begin_keeping() -> None:
    """Keep what is compiled from here on, if this is inside of `compile_cache`."""
    global _waiting
    stack, _waiting = _waiting, None
    if stack is not None:
        stack.enter_context(_kept())


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Do what `compile_cache` says.

    JAX's own settings come first: JAX_COMPILATION_CACHE_DIR, or the config's. Otherwise the code
    goes to the user's cache folder, in a folder for each kind of machine and of packing: code for
    one CPU may crash on another.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir:
        yield
        return
    from jax.experimental.compilation_cache import compilation_cache as cache

    before = config.jax_persistent_cache_min_compile_time_secs
    try:
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what lies there is run
    except (OSError, RuntimeError):  # no home, or one that cannot be written to: compile each time
        yield
        return
    config.update("jax_compilation_cache_dir", str(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    cache.reset_cache()  # what was compiled before this has fixed that there is none
    try:
        yield
    finally:
        config.update("jax_compilation_cache_dir", None)
        config.update("jax_persistent_cache_min_compile_time_secs", before)
        cache.reset_cache()


def cache_folder() -> Path:
    """Return the folder for compiled code of this kind of machine, packed as JAX packs it here."""
    machine = f"{platform.machine()} {hardware.cpu_features()} {_compression()}"
    return user_cache() / "xla" / hashlib.sha256(machine.encode()).hexdigest()[:12]


def _compression() -> str:
    """Return what JAX packs compiled code with here: it cannot read what is packed otherwise."""
    for name in ("compression.zstd", "zstandard"):  # the first is in Python 3.14
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        return "zstd"
    return "zlib"
