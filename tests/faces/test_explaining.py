"""Maps of the faces in a photograph: of their crops, for their labels, in their order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ferjax.explain
from ferjax.faces import Detection, Face, crop, heatmaps


def face(x: float, label: str | None) -> Face:
    return Face(
        box=(x, 20, 40, 50),
        label=label,
        index=None,
        confidence=0.6,
        probabilities={"happy": 0.4, "sad": 0.6},
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what the explanation is asked for; each map is of its crop's mean."""
    calls: list[dict[str, Any]] = []

    def explain(classifier: Any, images: Any, **options: Any) -> list[Any]:
        calls.append({"images": images, **options})
        return [SimpleNamespace(heatmap=np.full((4, 4), i.mean(), np.float32)) for i in images]

    monkeypatch.setattr(ferjax.explain, "explain", explain)
    return calls


def test_a_map_is_of_the_crop_and_for_the_label_or_the_most_probable(
    asked: list[dict[str, Any]],
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    faces = [face(20, "happy"), face(120, None)]
    maps = heatmaps(None, image, faces, resize="linear")  # type: ignore[arg-type]
    (call,) = asked
    assert call["labels"] == ["happy", "sad"]
    assert call["resize"] == "linear"
    assert [m[0, 0] for m in maps] == [np.float32(crop(image, f).mean()) for f in faces]


def test_of_detections_the_predicted_class_is_explained(asked: list[dict[str, Any]]) -> None:
    heatmaps(None, np.zeros((100, 100), np.uint8), [Detection(box=(20, 20, 40, 50))])  # type: ignore[arg-type]
    assert asked[0]["labels"] is None
    assert asked[0]["resize"] == "area"


def test_without_faces_nothing_is_explained(asked: list[dict[str, Any]]) -> None:
    assert heatmaps(None, np.zeros((9, 9), np.uint8), []) == []  # type: ignore[arg-type]
    assert asked == []
