"""A service in this process, with a tiny network, and photographs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ferjax import EMOTIONS, EmotionClassifier

from ..networks import as_trained, tiny

if TYPE_CHECKING:  # the modules of tests say where the extra `serve` is missing
    from fastapi.testclient import TestClient

ROOT = Path(__file__).parents[2]
Serve = Callable[..., Any]


@pytest.fixture(scope="session")
def classifier() -> EmotionClassifier:
    """A tiny network by ONNX Runtime, with a calibration and frequencies."""
    pytest.importorskip("onnx")
    network = tiny()
    return EmotionClassifier(
        network,
        as_trained(network),
        EMOTIONS,
        temperature=1.5,
        training_frequencies=[1, 2, 3, 4, 5, 6, 7],
        engine="onnx",
        threads=1,
    )


@pytest.fixture(scope="module")
def serve(classifier: EmotionClassifier) -> Iterator[Serve]:
    """Start services in this process with limits and settings: `serve(max_body=100)`."""
    from fastapi.testclient import TestClient

    from ferjax.serve.app import create_app
    from ferjax.serve.service import Service
    from ferjax.serve.settings import Limits, Settings

    with ExitStack() as stack:

        def start(**options: Any) -> TestClient:
            names = set(Limits.__dataclass_fields__)
            limits = Limits(**{name: options.pop(name) for name in names & set(options)})
            settings = Settings(limits=limits, threads=2, **options)
            app = create_app(Service(classifier, settings))
            client = TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000))
            return stack.enter_context(client)

        yield start


@pytest.fixture(scope="module")
def client(serve: Serve) -> TestClient:
    """A service with the usual settings."""
    return serve()


@pytest.fixture(scope="session")
def photograph() -> bytes:
    return (ROOT / "examples" / "astronaut.jpg").read_bytes()


@pytest.fixture(scope="session")
def face() -> bytes:
    return (ROOT / "examples" / "astronaut.png").read_bytes()


@pytest.fixture(scope="session")
def in_base64(face: bytes) -> str:
    return base64.b64encode(face).decode()
