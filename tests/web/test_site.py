"""The page as a static site: what is written, and what is left alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from ferjax import FerjaxError
from ferjax.classifier import EmotionClassifier
from ferjax.errors import WriteError
from ferjax.onnx import Engine
from ferjax.scaling import Scaling
from ferjax.web import Runtime, headers, site, write
from ferjax.web.runtime import FILES
from tests.networks import as_trained, dense_weights, one_dense, tiny

RUNTIME = Runtime(source="a test", files={name: name.encode() for name in FILES})
PAGE = site.PAGE


def classifier(**options: Any) -> EmotionClassifier:
    network = tiny(classes=3)
    return EmotionClassifier(network, as_trained(network), ["calm", "tense", "other"], **options)


def settings_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "settings.json").read_text(encoding="utf-8"))


def test_a_site_has_the_page_the_networks_the_runtime_and_their_hashes(tmp_path: Path):
    weights = tmp_path / "mine.h5"
    weights.write_bytes(b"weights")
    folder = tmp_path / "a" / "page"
    written = write(classifier(), folder, runtime=RUNTIME, weights=weights, title="Mine")
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert written.num_bytes == sum(path.stat().st_size for path in files.values())
    stated = settings_of(folder)["sha256"]
    assert set(files) == {*stated, "settings.json"}
    assert {"index.html", "style.css", "ui/main.js", "worker.js", "sample.jpg"} <= set(files)
    assert {f"runtime/{name}" for name in FILES} <= set(files)
    for name, digest in stated.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest
    assert settings_of(folder)["title"] == "Mine"
    card = settings_of(folder)["card"]
    assert (card["file"], card["sha256"]) == ("mine.h5", hashlib.sha256(b"weights").hexdigest())
    onnxruntime.InferenceSession(files["detector.onnx"].read_bytes())


def test_the_network_of_a_site_gives_what_the_classifier_gives(tmp_path: Path):
    write(known := classifier(), tmp_path / "page", runtime=RUNTIME)
    images = np.random.default_rng(0).random((4, 12, 12, 1), np.float32)
    found = Engine(tmp_path / "page" / "network.onnx")(images)
    np.testing.assert_allclose(found, known.predict_batch(images), atol=1e-6)


def test_settings_say_what_the_network_takes_and_what_is_known_of_it():
    calibration = Scaling(temperature=2.0, offsets=(0.0, 0.5, -0.5), prior=(0.5, 0.25, 0.25))
    metadata = {
        "name": "mine",
        "licence": "MIT",
        "accuracy": [
            {"dataset": "faces", "images": 10, "correct": 7, "top_1": 0.7, "view": "single"},
            {"dataset": "faces", "images": 10, "correct": 8, "top_1": 0.8, "view": "flip"},
        ],
    }
    stated = site.settings(
        classifier(
            value_range=(-1, 1),
            training_frequencies=[2, 1, 1],
            scaling=calibration,
            metadata=metadata,
        )
    )
    assert (stated["imageSize"], stated["channels"], stated["layout"]) == ([12, 12], 1, "nhwc")
    assert (stated["valueRange"], stated["output"]) == ([-1, 1], "probabilities")
    assert stated["labels"] == ["calm", "tense", "other"]
    assert stated["trainingFrequencies"] == [0.5, 0.25, 0.25]
    assert stated["scaling"] == {
        "temperature": 2.0,
        "offsets": [0.0, 0.5, -0.5],
        "prior": [0.5, 0.25, 0.25],
    }
    assert (stated["name"], stated["card"]["licence"]) == ("mine", "MIT")
    assert [entry["top1"] for entry in stated["card"]["accuracy"]] == [0.7]


@pytest.mark.parametrize(
    ("file", "name"), [("mine_robust.h5", "mine_robust"), ("best.h5", "mine"), ("mine.h5", "mine")]
)
def test_a_file_may_have_a_name_that_says_more(tmp_path: Path, file: str, name: str):
    (tmp_path / file).write_bytes(b"weights")
    known = classifier(metadata={"name": "mine"})
    assert site.settings(known, weights=tmp_path / file)["name"] == name


@pytest.mark.parametrize(
    ("units", "activation", "output", "sums"),
    [
        (3, "softmax", "probabilities", True),
        (3, "linear", "logits", True),
        (3, "log_softmax", "log_probabilities", True),
        (3, "sigmoid", "probabilities", False),
        (1, "sigmoid", "second", True),
    ],
)
def test_settings_say_what_outputs_are(units: int, activation: str, output: str, sums: bool):
    network = one_dense(units, activation, shape=(2, 2, 3))
    variables = dense_weights(np.ones((12, units)))
    labels = ["a", "b", "c"] if units == 3 else ["a", "b"]
    stated = site.settings(EmotionClassifier(network, variables, labels))
    assert (stated["output"], stated["distribution"], stated["channels"]) == (output, sums, 3)
    assert stated["scaling"] is stated["trainingFrequencies"] is None


def test_what_a_file_says_of_itself_is_checked_before_it_is_shown():
    metadata = {
        "name": ["no text"],
        "licence": "x" * 10_000,
        "trained_on": {"data": "faces", "images": -1},
        "accuracy": [{"top_1": float("nan"), "images": True}, "no record", {"top_1": 2}],
    }
    card = site.settings(classifier(metadata=metadata))["card"]
    assert card["name"] == "tiny"
    assert len(card["licence"]) == 500
    assert card["trainedOn"] == "faces"
    assert [entry["top1"] for entry in card["accuracy"]] == [None, None]
    json.dumps(card, allow_nan=False)


# --- where it goes -------------------------------------------------------------------------------


def test_a_page_is_replaced_by_the_next_one(tmp_path: Path):
    write(classifier(), tmp_path / "page", runtime=RUNTIME)
    (tmp_path / "page" / "ui" / "main.js").unlink()
    write(classifier(), tmp_path / "page", runtime=RUNTIME, title="Second")
    assert settings_of(tmp_path / "page")["title"] == "Second"
    assert (tmp_path / "page" / "ui" / "main.js").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


@pytest.mark.parametrize("name", ["notes.txt", "settings.json"])
def test_a_folder_of_others_is_left_as_it_is(tmp_path: Path, name: str):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("{}")
    with pytest.raises(
        WriteError, match=rf"holds something else than a page .*\({name}\).*--force"
    ):
        write(classifier(), tmp_path / "mine", runtime=RUNTIME)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name]
    write(classifier(), tmp_path / "mine", runtime=RUNTIME, force=True)
    assert not (tmp_path / "mine" / "notes.txt").exists()


def test_the_weights_of_a_page_are_not_replaced_by_it(tmp_path: Path):
    (weights := tmp_path / "runs" / "best.h5").parent.mkdir()
    weights.write_bytes(b"weights")
    with pytest.raises(WriteError, match=r"runs: holds the weights that the page is made of"):
        write(classifier(), tmp_path / "runs", runtime=RUNTIME, weights=weights, force=True)
    assert weights.read_bytes() == b"weights"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_a_folder_with_a_pipe_in_the_place_of_settings_is_no_page(tmp_path: Path):
    os.mkfifo(tmp_path / "settings.json")  # which nobody writes into
    with pytest.raises(WriteError, match="holds something else than a page"):
        write(classifier(), tmp_path, runtime=RUNTIME)


def test_files_beside_a_page_are_not_lost(tmp_path: Path):
    write(classifier(), tmp_path / "page", runtime=RUNTIME)
    (tmp_path / "page" / "data").symlink_to(tmp_path)
    with pytest.raises(WriteError, match=r"holds files beside the page \(data\)"):
        write(classifier(), tmp_path / "page", runtime=RUNTIME)
    (tmp_path / "page" / "data").unlink()
    (tmp_path / "page" / "CNAME").write_text("example.org")
    with pytest.raises(WriteError, match=r"holds files beside the page \(CNAME\)"):
        write(classifier(), tmp_path / "page", runtime=RUNTIME)
    assert (tmp_path / "page" / "CNAME").read_text() == "example.org"


def test_folders_that_are_more_than_a_page_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for folder in (".", "..", Path.home(), "/"):
        with pytest.raises(WriteError, match="expected a folder of its own for the page"):
            site.check_place(folder, force=True)


def test_a_site_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WriteError, match=r"cannot be written \(No space left"):
        write(classifier(), tmp_path / "page", runtime=RUNTIME)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path):
    (tmp_path / "page").write_text("")
    with pytest.raises(WriteError, match="expected a folder"):
        write(classifier(), tmp_path / "page", runtime=RUNTIME)


def test_a_missing_sample_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(site, "__file__", str(tmp_path / "a" / "b" / "site.py"))
    monkeypatch.setattr(site, "PAGE", tmp_path)  # a wheel's holds it, a checkout's does not
    with pytest.raises(FerjaxError, match=r"lacks the page's sample\.jpg; reinstall"):
        site.sample()


# --- what it consists of -------------------------------------------------------------------------


class Markup(HTMLParser):
    """The start tags of index.html."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed((PAGE / "index.html").read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_states_the_policy_that_servers_send():
    (policy,) = (
        attributes["content"]
        for tag, attributes in Markup().tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy == headers.CONTENT_SECURITY_POLICY
    assert headers.HEADERS["Content-Security-Policy"].startswith(f"{policy}; ")


def test_the_markup_has_no_scripts_or_styles_of_its_own_and_ids_that_differ():
    tags = Markup().tags
    assert all("src" in attributes for tag, attributes in tags if tag == "script")
    assert not [tag for tag, attributes in tags if tag == "style" or "style" in attributes]
    assert not [a for _, attributes in tags for a in attributes if a.startswith("on")]
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_no_file_of_the_page_names_another_host():
    named = {
        path.name: hosts
        for path in PAGE.rglob("*")
        if path.suffix in (".js", ".css", ".html", ".svg")
        and (hosts := set(re.findall(r"(?:https?:)?//([\w.-]+\.\w+)", path.read_text("utf-8"))))
    }
    # The help of a page from a folder, and the name of a vocabulary.
    assert named == {"index.html": {"127.0.0.1"}, "icon.svg": {"www.w3.org"}}


def test_scripts_name_files_and_elements_that_there_are():
    ids = {attributes["id"] for _, attributes in Markup().tags if "id" in attributes}
    for path in PAGE.rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r'^(?:import|\} from|export .* from) .*"(\.[^"]+)";', text, re.M):
            assert (path.parent / name).is_file(), (path.name, name)
        for name in re.findall(r'(?:byId|button|input|part)\("([\w-]+)"', text):
            assert name in ids, (path.name, name)
