"""Compiler options: taken where they are known, harmless where not, the same predictions."""

from __future__ import annotations

import importlib
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from ferjax import nets, xla

from .conftest import tidy_cache


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Ask anew in each test."""
    xla.compiler_options.cache_clear()
    yield
    xla.compiler_options.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("is_quick", [False, True])
def test_predictions_stay_as_they_are(is_quick: bool) -> None:
    network = nets.fer_cnn8()
    variables = network.init(jax.random.key(0))
    images = np.random.default_rng(0).random((4, 48, 48, 1)).astype(np.float32)

    def predict(options: dict[str, str | bool]) -> Any:
        return jax.jit(lambda v, x: network.apply(v, x), compiler_options=options)(
            variables, images
        )

    np.testing.assert_allclose(
        predict(xla.compiler_options(is_quick=is_quick)), predict({}), atol=1e-6
    )


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="needs the CPU backend")
def test_this_version_of_xla_knows_the_options() -> None:
    options, quick = xla.compiler_options(), xla.compiler_options(is_quick=True)
    assert len(options) == 2
    assert quick.items() >= options.items()
    assert len(quick) == 4 or jax.__version_info__ >= (0, 11)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="needs the CPU backend")
def test_an_option_that_this_version_of_xla_lacks_takes_no_other_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = jax.jit
    lacking = "xla_cpu_prefer_vector_width"

    def jit(*args: Any, compiler_options: dict[str, str], **kwargs: Any) -> Any:
        given = {name.replace(lacking, "xla_cpu_of_old"): v for name, v in compiler_options.items()}
        return real(*args, compiler_options=given, **kwargs)

    monkeypatch.setattr(jax, "jit", jit)
    (option,) = xla.compiler_options()
    assert option != lacking


def test_other_devices_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert xla.compiler_options() == {}


def test_a_version_of_xla_that_does_not_know_them_gets_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = jax.jit

    def jit(*args: Any, compiler_options: dict[str, str], **kwargs: Any) -> Any:
        return real(*args, compiler_options={"xla_cpu_of_old": "1"}, **kwargs)

    monkeypatch.setattr(jax, "jit", jit)
    assert xla.compiler_options() == {}


def test_each_kind_of_packing_has_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def stdlib_alone(name: str) -> None:
        if name != "compression.zstd":
            raise ImportError(name)

    def none(name: str) -> None:
        raise ImportError(name)

    here = xla.cache_folder()
    monkeypatch.setattr(importlib, "import_module", stdlib_alone)
    zstd = xla.cache_folder()
    monkeypatch.setattr(importlib, "import_module", none)
    zlib_folder = xla.cache_folder()
    assert zstd != zlib_folder
    assert here in (zstd, zlib_folder)


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Any:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(xla, "cache_folder", homeless)
    config: Any = jax.config
    before = config.jax_compilation_cache_dir
    config.update("jax_compilation_cache_dir", None)
    try:
        with xla.compile_cache():
            assert config.jax_compilation_cache_dir is None
    finally:
        config.update("jax_compilation_cache_dir", before)


def test_what_is_compiled_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(xla, "cache_folder", lambda: tmp_path)
    hits: list[str] = []
    jax.monitoring.register_event_listener(
        lambda event, **_: hits.append(event) if event.endswith("/cache_hits") else None
    )
    config: Any = jax.config
    before = config.jax_compilation_cache_dir
    config.update("jax_compilation_cache_dir", None)
    kept = []
    try:
        for _ in range(2):  # as in two processes: each of the two functions is compiled
            with xla.compile_cache():
                config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
                jax.jit(lambda x: x + 1)(1.0)
            kept.append((len(list(tmp_path.glob("*-cache"))), len(hits)))
    finally:
        config.update("jax_compilation_cache_dir", before)
    assert kept == [(1, 0), (1, 1)]


def test_what_tests_compiled_is_tidied(tmp_path: Path) -> None:
    whole = zlib.compress(b"code" * 100)
    kept = {"zlib": whole, "zstd": b"\x28\xb5\x2f\xfd..."}
    for name, content in {**kept, "half": whole[:-4], "empty": b"", "old": whole}.items():
        (tmp_path / f"{name}-cache").write_bytes(content)
    long_ago = time.time() - 31 * 86400
    os.utime(tmp_path / "old-cache", (long_ago, long_ago))
    tidy_cache(tmp_path)
    assert {path.name for path in tmp_path.glob("*-cache")} == {"zlib-cache", "zstd-cache"}
