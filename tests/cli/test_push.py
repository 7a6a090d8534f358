"""Sharing weights: the folder, its card, and what is sent to a hub on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ferjax
from ferjax import digests, metadata, publish
from ferjax.errors import FerjaxError
from ferjax.publish import folder, header

from .. import hub_server
from ..hub_server import Hub, HuggingFace, plant, serving
from ..networks import drawn, tiny
from .conftest import Cli

ROOT = Path(__file__).parents[2]
LABELS = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
ADDRESS = "hf://someone/emotions"
STATED = {
    "labels": LABELS,
    "value_range": [-1.0, 1.0],
    "licence": "MIT",
    "trained_on": {"data": "FER2013 Training", "images": 28709},
    "accuracy": [
        {
            "dataset": "FER2013 PublicTest",
            "images": 4,
            "top_1": 0.75,
            "view": "single",
            "note": "1 of the images is a copy",
            "labels": "majority of people, 7 classes",
            "balanced": 0.5,
        },
        {"dataset": "mine", "images": 4, "top_1": 0.25, "view": "flip", "note": ""},
        {"dataset": "mine", "top_1": None},
        "by hand",
    ],
}


@pytest.fixture
def hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return hub_server.hugging_face(tmp_path, monkeypatch)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path, network = tmp_path / "best.h5", tiny()
    ferjax.keras.save(path, network.graph, drawn(network))
    metadata.write(path, STATED)
    return path


@pytest.fixture
def served(hugging_face: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(exists=False), HuggingFace) as server:
        hugging_face.online(server.url)
        monkeypatch.setenv("HF_TOKEN", "a token of somebody")
        yield server


def test_a_dry_run_writes_what_would_be_sent(
    cli: Cli, hugging_face: SimpleNamespace, weights: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    done = cli("push", ADDRESS, weights, "--dry-run", shared)
    assert done.code == 0 and not done.err
    names = ["README.md", "best.h5", "best.metadata.json", "preprocessor_config.json"]
    assert [line.partition(",")[0] for line in done.out.splitlines()] == [
        str(shared / name) for name in names
    ]
    assert sorted(path.name for path in shared.iterdir()) == names
    assert (shared / "best.h5").read_bytes() == weights.read_bytes()
    assert metadata.read(shared / "best.h5").items() >= STATED.items()
    facts = json.loads((shared / "preprocessor_config.json").read_text())
    assert (facts["size"], facts["num_channels"]) == ({"height": 12, "width": 12}, 1)
    black, white = ((v * facts["rescale_factor"] - 0.5) / 0.5 for v in (0, 255))
    assert (facts["image_mean"], facts["image_std"], black, white) == ([0.5], [0.5], -1, 1)
    assert list(facts["id2label"].values()) == LABELS


def test_the_header_is_as_the_hub_reads_it(
    hugging_face: SimpleNamespace, weights: Path, tmp_path: Path
) -> None:
    from huggingface_hub import ModelCard

    publish.write_folder(ADDRESS, weights, tmp_path / "shared")
    card = ModelCard.load(tmp_path / "shared" / "README.md")
    data = card.data
    assert (data.license, data.datasets, data.library_name) == ("mit", ["fer2013"], "ferjax")
    assert data.pipeline_tag == "image-classification" and "emotion" in data.tags
    assert data.metrics == ["accuracy", "balanced_accuracy"]
    assert data.model_name == "best"
    of = "single view, against the majority of people, 7 classes, 4 images; "
    of += "1 of the images is a copy"
    assert [
        (r.dataset_type, r.dataset_split, r.metric_type, r.metric_value, r.metric_name)
        for r in data.eval_results
    ] == [
        ("fer2013", "PublicTest", "accuracy", 0.75, f"accuracy, {of}"),
        ("fer2013", "PublicTest", "balanced_accuracy", 0.5, f"balanced accuracy, {of}"),
        ("mine", None, "accuracy", 0.25, "accuracy, flip view, 4 images"),
    ]
    assert "<!-- written by `ferjax card` -->" in card.text and "## Intended use" in card.text
    assert f"{ADDRESS}/best.h5#sha256={digests.sha256(weights)}" in card.text


def test_figures_of_a_report_go_before_those_of_the_metadata(
    hugging_face: SimpleNamespace, tmp_path: Path
) -> None:
    from huggingface_hub import ModelCard

    source, report = ROOT / "checkpoints/fer_cnn5.h5", ROOT / "checkpoints/reports/fer_cnn5.json"
    publish.write_folder(ADDRESS, source, tmp_path / "shared", publish.Contents(reports=[report]))
    results = ModelCard.load(tmp_path / "shared" / "README.md").data.eval_results
    whole = json.loads(report.read_text())["whole"]
    public = [r for r in results if r.dataset_name == "FER2013 PublicTest"]
    assert [r.metric_type for r in public] == ["accuracy", "balanced_accuracy", "f1"] * 2
    assert public[2].metric_value == round(whole["macro_f1"], 4)
    assert {r.dataset_name for r in results} == {"FER2013 PublicTest", "FER2013 PrivateTest"}


def test_the_example_of_a_card_runs(
    hugging_face: SimpleNamespace,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cli: Cli,
) -> None:
    shared = publish.write_folder(f"{ADDRESS}@v1", weights, tmp_path / "shared")
    card = (shared / "README.md").read_text()
    plant(hugging_face.cache, {p.name: p.read_bytes() for p in shared.iterdir()}, ref="v1")
    shutil.copy(ROOT / "examples" / "astronaut.jpg", tmp_path / "photograph.jpg")
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    command = re.search(r"\$ ferjax (.*)", card)
    assert example is not None and command is not None
    exec(compile(example[1], "README.md", "exec"), {})
    label, confidence, *box = capsys.readouterr().out.replace("(", "").split()
    assert label in LABELS and 0 <= float(confidence) <= 1 and len(box) == 4
    done = cli(*command[1].split())
    assert done.code == 0 and f" {label} " in done.out


def test_other_formats_have_folders_and_metadata_of_their_own(
    hugging_face: SimpleNamespace, weights: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    contents = publish.Contents(also=["keras", "msgpack", "onnx", "keras"], datasets=["a/b"])
    publish.write_folder(ADDRESS, weights, shared, contents)
    files = [name for name, _ in folder.listing(shared) if "/" in name]
    assert files == [
        "flax/best.metadata.json",
        "flax/best.msgpack",
        "keras/best.keras",
        "keras/best.metadata.json",
        "onnx/best.onnx",
    ]
    for name in ("flax/best.msgpack", "keras/best.keras"):
        assert metadata.read(shared / name)["labels"] == LABELS
    plant(hugging_face.cache, {n: (shared / n).read_bytes() for n, _ in folder.listing(shared)})
    assert ferjax.load(ADDRESS).value_range == (-1, 1)  # the weights on top
    assert ferjax.load(f"{ADDRESS}/keras/best.keras").labels == tuple(LABELS)
    assert "datasets:\n- a/b\n" in (shared / "README.md").read_text()


def sent(hub: Hub) -> dict[str, bytes]:
    """Return the files of the only commit."""
    (lines,) = hub.commits
    files = {}
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            files[value["path"]] = hub.received[value["oid"]]
            assert hashlib.sha256(files[value["path"]]).hexdigest() == value["oid"]
    return files


def test_what_is_listed_is_sent_as_one_commit(
    cli: Cli, served: Hub, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("beside the weights")
    done = cli("push", ADDRESS, weights, "--private", "--message", "First weights")
    assert (
        done.code == 0 and done.out == f"{served.url}/someone/emotions/commit/{hub_server.COMMIT}\n"
    )
    files = sent(served)
    listed = [line.strip() for line in done.err.splitlines() if line.startswith("  ")]
    assert listed == [f"{name}, {len(content):,} bytes" for name, content in sorted(files.items())]
    assert done.err.startswith(f"to {ADDRESS}, private, branch main:\n")
    assert files["best.h5"] == weights.read_bytes() and len(files) == 4
    assert served.is_private and served.commits[0][0]["value"]["summary"] == "First weights"
    assert b"a token of somebody" not in b"".join(files.values())
    calls = [request for request in served.requests if "GET" not in request]
    assert calls[0] == "POST /api/repos/create"
    assert calls[-1] == "POST /api/models/someone/emotions/commit/main"


def test_a_branch_is_made_and_what_is_there_replaced(cli: Cli, served: Hub, weights: Path) -> None:
    served.exists, served.files = True, {"README.md": b"<!-- written by `ferjax card` -->"}
    done = cli("push", ADDRESS, weights, "--revision", "v1")
    assert done.code == 0 and "branch v1:\n  README.md, " in done.err
    assert (
        "bytes, replaced\n  best.h5" in done.err and "POST /api/repos/create" not in served.requests
    )
    assert "POST /api/models/someone/emotions/commit/v1" in served.requests
    done = cli("push", f"{ADDRESS}@new", weights)
    assert done.code == 0 and "POST /api/models/someone/emotions/branch/new" in served.requests


def test_a_card_that_people_wrote_stays(cli: Cli, served: Hub, weights: Path) -> None:
    served.exists, served.files = True, {"README.md": b"# Mine"}
    done = cli("push", ADDRESS, weights)
    assert done.code == 2 and "its README.md is no card that ferjax wrote; --force" in done.error
    assert not served.commits
    assert cli("push", ADDRESS, weights, "--force").code == 0 and len(served.commits) == 1


@pytest.mark.parametrize(
    ("fault", "arguments", "message"),
    [
        ("read only", [], r"not allowed \(HTTP 403\)"),
        ("card", [], r"is refused \(Invalid metadata in README.md. - no\)"),
        ("broken", [], "answers with HTTP 503"),
        ("gated", ["--private"], "is public already, and --private does not hide it"),
    ],
)
def test_nothing_is_committed_where_the_hub_refuses(
    fault: str, arguments: list[str], message: str, cli: Cli, served: Hub, weights: Path
) -> None:
    served.fault, served.exists = fault, bool(arguments)
    done = cli("push", ADDRESS, weights, *arguments)
    assert done.code == 2 and not done.out and not served.commits
    assert re.search(message, done.err.splitlines()[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kaggle://o/m", "W"], r"kaggle://o/m: expected hf://owner/name\[@revision\] to push to"),
        (["somewhere", "W"], "somewhere: expected hf://owner/name"),
        (["hf://o/n/f.h5", "W"], "to push to, without a file or hash"),
        ([f"hf://o/n@{'0' * 40}", "W"], "expected a branch to push to, not a commit"),
        (["hf://o/n@a", "W", "--revision", "b"], "two branches are given"),
        (["hf://o/n", "W", "--message", " "], "expected words for the commit"),
        (["hf://o/n", "none.h5"], "none.h5: no such file"),
        (["hf://o/n", "."], "expected one file, got a folder"),
        (["hf://o/n", "W", "--licence", "apach-2"], "such as apache-2.0.* got 'apach-2'"),
        (["hf://o/n", "W", "--dataset", "a/b/c"], "expected owner/name of a dataset on the hub"),
        (["hf://o/n", "W", "--report", "none.json"], "none.json: no such file"),
        (["hf://o/n", "W", "--labels", "a,b"], "expected 7 .*labels"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, cli: Cli, served: Hub, weights: Path, tmp_path: Path
) -> None:
    call = [str(weights) if argument == "W" else argument for argument in arguments]
    done = cli("push", *call)
    assert done.code == 2 and re.search(message, done.error)
    assert not [request for request in served.requests if "GET" not in request]


def test_a_dry_run_touches_no_folder_with_something_in_it(
    cli: Cli, hugging_face: SimpleNamespace, weights: Path, tmp_path: Path
) -> None:
    done = cli("push", ADDRESS, weights, "--dry-run", tmp_path)
    assert done.code == 2 and "is not empty; remove it" in done.error
    done = cli("push", ADDRESS, weights)
    assert done.code == 2 and "HF_HUB_OFFLINE is set, and nothing can be pushed" in done.error


def test_nobody_is_logged_in(
    cli: Cli, served: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    done = cli("push", ADDRESS, weights)
    assert done.code == 2 and "nobody is logged in: log in by `hf auth login`" in done.error
    assert not served.requests


@pytest.mark.parametrize("secret", ["a token of somebody", f"hf_{'x' * 34}"])
def test_a_token_in_a_file_is_not_sent(
    secret: str, cli: Cli, served: Hub, weights: Path, tmp_path: Path
) -> None:
    metadata.write(weights, {**STATED, "training": {"command": f"HF_TOKEN={secret} ferjax train"}})
    for arguments in ([], ["--dry-run", str(tmp_path / "shared")]):
        done = cli("push", ADDRESS, weights, *arguments)
        assert done.code == 2 and "a token or password is in it" in done.error
        assert secret not in done.err
    assert not served.requests and not (tmp_path / "shared").exists()


def test_a_token_in_a_compressed_file_is_seen(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "best.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"name": 50 * "aaaa" + f" hf_{'x' * 34}"}))
    assert b"hf_x" not in (tmp_path / "best.keras").read_bytes()
    with pytest.raises(FerjaxError, match=r"best\.keras: a token or password is in it"):
        folder.check_secrets(tmp_path, [])


def test_licences_and_data_by_hand() -> None:
    assert header.licence_of("CC-BY-4.0") == "cc-by-4.0"
    with pytest.raises(FerjaxError, match=r"got 'apache' .*did you mean 'apache-2.0'"):
        header.licence_of("apache")
    stated: dict[str, Any] = {"trained_on": {"data": "my faces"}}
    assert header.dataset_ids([], stated) is None
    assert header.dataset_ids(["a/b", "a/b"], stated) == ["a/b"]


@pytest.mark.parametrize("name", ["best#1.h5", "best?.h5", "a\\b.h5"])
def test_files_that_no_address_leads_to(
    cli: Cli, hugging_face: SimpleNamespace, weights: Path, tmp_path: Path, name: str
) -> None:
    odd = tmp_path / name
    shutil.copyfile(weights, odd)
    done = cli("push", ADDRESS, odd, "--dry-run", tmp_path / "shared")
    assert done.code == 2
    assert done.error.endswith("no address leads to a file of that name; rename it, as best.h5")
    assert not (tmp_path / "shared").exists()


def test_a_folder_without_a_name(cli: Cli, hugging_face: SimpleNamespace, weights: Path) -> None:
    done = cli("push", ADDRESS, weights, "--dry-run", "")
    assert done.code == 2 and done.error.endswith("expected a folder to write, got an empty string")
