"""What is answered: the same as by the command line, for every form of request and every option."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
from fastapi.testclient import TestClient

from ferjax import EmotionClassifier, priors
from ferjax.faces import results
from ferjax.faces.face import Photograph
from ferjax.serve.app import create_app
from ferjax.serve.service import Service
from ferjax.serve.settings import Settings

from ..networks import as_trained, tiny

ROOT = Path(__file__).parents[2]


def faces_of(classifier: EmotionClassifier, photograph: bytes, **options: Any) -> list[Any]:
    """Return what `ferjax faces --json` says of the faces in a photograph."""
    faces = classifier.analyze(photograph, **options)
    entry = results.entry_of("", Photograph(source="", faces=faces, shape=(512, 512)))
    return json.loads(json.dumps(entry["faces"]))


def test_a_face_is_that_of_the_command_line(
    client: TestClient, classifier: EmotionClassifier, photograph: bytes
) -> None:
    answer = client.post("/v1/faces", files={"images": ("party.jpg", photograph)})
    assert answer.status_code == 200
    assert answer.json() == {
        "model": "tiny",
        "engine": "onnx",
        "results": [
            {
                "path": "party.jpg",
                "width": 512,
                "height": 512,
                "error": None,
                "code": None,
                "faces": faces_of(classifier, photograph),
            }
        ],
    }
    assert len(answer.json()["results"][0]["faces"]) == 1


def test_a_picture_that_is_a_face_is_predicted_as_by_the_command_line(
    client: TestClient, classifier: EmotionClassifier, face: bytes
) -> None:
    answer = client.post("/v1/predict", files={"images": ("a.png", face)})
    (said,) = classifier.predict(face, resize="linear")
    assert answer.json()["results"] == [
        {"path": "a.png", "error": None, "code": None, **vars(said)}
    ]


def test_several_pictures_come_in_order(client: TestClient, photograph: bytes, face: bytes) -> None:
    files = [("a", ("1.png", face)), ("b", ("2.jpg", photograph)), ("a", ("3.png", face))]
    entries = client.post("/v1/faces", files=files).json()["results"]
    seen = [(entry["path"], entry["width"], len(entry["faces"])) for entry in entries]
    assert seen == [("1.png", 160, 1), ("2.jpg", 512, 1), ("3.png", 160, 1)]


@pytest.mark.parametrize("form", ["text", "named", "alone", "data URL", "lines"])
def test_json_with_base64(client: TestClient, face: bytes, in_base64: str, form: str) -> None:
    images: Any = {
        "text": [in_base64],
        "named": [{"name": "a.png", "data": in_base64}],
        "alone": in_base64,
        "data URL": [f"data:image/png;base64,{in_base64}"],
        "lines": [base64.encodebytes(face).decode()],
    }[form]
    answer = client.post("/v1/predict", json={"images": images})
    expected = client.post("/v1/predict", files={"images": ("a.png", face)}).json()
    expected["results"][0]["path"] = "a.png" if form == "named" else "image 1"
    assert (answer.status_code, answer.json()) == (200, expected)


@pytest.mark.parametrize("type_", ["image/jpeg", "application/octet-stream"])
def test_a_picture_as_it_is(client: TestClient, photograph: bytes, type_: str) -> None:
    answer = client.post(
        "/v1/faces?largest=true", content=photograph, headers={"Content-Type": type_}
    )
    assert answer.status_code == 200
    assert len(answer.json()["results"][0]["faces"]) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"calibrated": True},
        {"prior": "uniform"},
        {"prior": dict(zip("angry disgust fear happy neutral sad surprise".split(), range(1, 8)))},
        {"abstain_below": 0.99},
        {"resize": "linear"},
        {"min_score": 0.99},
        {"min_size": 200},
        {"order": "size", "largest": True},
    ],
)
def test_options_in_json_forms_and_addresses(
    client: TestClient, classifier: EmotionClassifier, photograph: bytes, options: dict[str, Any]
) -> None:
    expected = faces_of(classifier, photograph, **options)
    image = base64.b64encode(photograph).decode()
    texts = {
        name: priors.as_text(value) if isinstance(value, dict) else str(value).lower()
        for name, value in options.items()
    }
    files = {"images": ("a.jpg", photograph)}
    for answer in (
        client.post("/v1/faces", json={"images": [image], **options}),
        client.post("/v1/faces", files=files, data=texts),
        client.post("/v1/faces", files=files, params=texts),
    ):
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"][0]["faces"] == expected


def test_options_change_what_is_predicted(client: TestClient, in_base64: str) -> None:
    def said(**options: Any) -> dict[str, Any]:
        answer = client.post("/v1/predict", json={"images": in_base64, **options})
        return answer.json()["results"][0]

    plain = said()
    assert plain["label"] is not None
    changed = [said(calibrated=True), said(prior="uniform"), said(resize="area")]
    assert all(entry["probabilities"] != plain["probabilities"] for entry in changed)
    abstaining = said(abstain_below=1)
    assert (abstaining["label"], abstaining["index"]) == (None, None)
    assert abstaining["probabilities"] == plain["probabilities"]


def test_a_bad_picture_among_others_has_its_error(client: TestClient, face: bytes) -> None:
    files = [("images", ("a.txt", b"text")), ("images", ("b.png", face))]
    answer = client.post("/v1/faces", files=files)
    bad, good = answer.json()["results"]
    assert answer.status_code == 200
    assert bad == {
        "path": "a.txt",
        "error": bad["error"],
        "code": "not-an-image",
        "width": None,
        "height": None,
        "faces": [],
    }
    assert bad["error"].startswith("a.txt: not an image that ferjax can read")
    assert (good["error"], good["code"], good["width"] is not None) == (None, None, True)
    bad, good = client.post("/v1/predict", files=files).json()["results"]
    assert (bad["label"], bad["probabilities"], bad["code"]) == (None, None, "not-an-image")
    assert good["label"] is not None


def test_the_weights_are_described(client: TestClient) -> None:
    said = client.get("/v1/model").json()
    assert said["labels"] == "angry disgust fear happy neutral sad surprise".split()
    assert (said["image_size"], said["channels"], said["engine"]) == ([12, 12], 1, "onnx")
    assert said["request_limits"]["max_images"] == 16
    assert any("no reading of what the person feels" in limit for limit in said["limits"])


def test_weights_whose_metadata_is_no_json(face: bytes) -> None:
    network = tiny(classes=2)
    metadata = {
        "source": float("nan"),
        "licence": "a\ud800",
        "accuracy": [{"dataset": "x", "top_1": 10**400}, {"dataset": "y", "top_1": -math.inf}],
    }
    known = EmotionClassifier(network, as_trained(network), ["\udcff", "b"], metadata=metadata)
    service = Service(known, Settings(threads=1))
    service.is_ready = True
    with TestClient(create_app(service), base_url="http://127.0.0.1:8000") as client:
        said = client.get("/v1/model").json()
        (entry,) = client.post("/v1/predict", files={"images": face}).json()["results"]
    assert (said["source"], said["licence"]) == (None, "a\ud800")
    assert [figure["top_1"] for figure in said["accuracy"]] == [10**400, None]
    assert set(entry["probabilities"]) == {"\udcff", "b"}


def test_health_readiness_and_numbers(client: TestClient, face: bytes) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    for _ in range(100):  # it warms up beside
        answer = client.get("/readyz")
        if answer.status_code == 200:
            break
    assert answer.json() == {"status": "ready"}
    client.post("/v1/predict", files={"images": face})
    client.post("/v1/predict", files={"images": b"text"})
    said = client.get("/metrics")
    assert said.headers["content-type"].startswith("text/plain; version=")
    lines = dict(line.rsplit(" ", 1) for line in said.text.splitlines() if line[0] != "#")
    assert float(lines['ferjax_images_total{outcome="not-an-image",path="/v1/predict"}']) >= 1
    assert float(lines['ferjax_requests_total{path="/v1/predict",status="415"}']) >= 1
    assert float(lines["ferjax_faces_total"]) >= 1
    assert float(lines["ferjax_images_waiting"]) == 0
    assert float(lines["ferjax_ready_processes"]) == 1
    assert "a.png" not in said.text


def test_openapi_has_examples_of_everything(client: TestClient, face: bytes) -> None:
    said = client.get("/openapi.json").json()
    assert set(said["paths"]) == {
        "/v1/faces", "/v1/predict", "/v1/model", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    for path in ("/v1/faces", "/v1/predict"):
        operation = said["paths"][path]["post"]
        content = operation["requestBody"]["content"]
        assert set(content) == {"multipart/form-data", "application/json", "image/*"}
        example = operation["responses"]["200"]["content"]["application/json"]["example"]
        real = client.post(path, files={"images": face}).json()
        assert set(example) == set(real)
        assert set(example["results"][0]) == set(real["results"][0])
        assert set(operation["responses"]) >= {"413", "415", "422", "429", "503"}
        options = {parameter["name"] for parameter in operation["parameters"]}
        assert options == set(content["application/json"]["schema"]["properties"]) - {"images"}
    faces = said["paths"]["/v1/faces"]["post"]["responses"]["200"]["content"]["application/json"]
    entry = client.post("/v1/faces", files={"images": face}).json()["results"][0]["faces"][0]
    assert set(faces["example"]["results"][0]["faces"][0]) == set(entry)
    assert set(said["components"]["schemas"]["FaceEntry"]["properties"]) == set(entry)


def test_options_of_openapi_are_those_that_are_taken() -> None:
    from ferjax.serve import documents, options

    assert set(documents.FACES_OPTIONS) == set(options.FACES)
    assert set(documents.PREDICT_OPTIONS) == set(options.PREDICT)
