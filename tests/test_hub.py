"""Weights by their address on a hub: read, fetched, taken from the cache, refused."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import pytest

import ferjax
from ferjax import digests, hub, metadata, released, weights
from ferjax.cli.main import main
from ferjax.errors import HubError, WeightFileError
from ferjax.hub import choice
from ferjax.hub.address import Address, hint, parse

from . import hub_server
from .hub_server import COMMIT, Hub, HuggingFace, Kaggle, plant, serving
from .networks import drawn, tiny

SHA = "a" * 64
LABELS = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://o/n", ("hf", "o/n", None, None, None)),
        ("hf://o/n/", ("hf", "o/n", None, None, None)),
        ("hf://models/o/n/f.h5", ("hf", "o/n", None, "f.h5", None)),
        ("HF://O/N@v1.0/a b/f.h5", ("hf", "O/N", "v1.0", "a b/f.h5", None)),
        ("hf://o/n@refs/pr/3/f.h5", ("hf", "o/n", "refs/pr/3", "f.h5", None)),
        ("hf://o/n@refs/pr/3", ("hf", "o/n", "refs/pr/3", None, None)),
        ("hf://o/n@feature%2Fx/f@2.h5", ("hf", "o/n", "feature/x", "f@2.h5", None)),
        (f"hf://o/n/f.h5#SHA256={SHA.upper()}", ("hf", "o/n", None, "f.h5", SHA)),
        ("kaggle://o/m", ("kaggle", "o/m", None, None, None)),
        ("kaggle://o/m/Keras/default", ("kaggle", "o/m/Keras/default", None, None, None)),
        (
            "kaggle://o/m/tensorFlow2/v/3/a/f.h5",
            ("kaggle", "o/m/tensorFlow2/v", "3", "a/f.h5", None),
        ),
        ("kaggle://o/m/pytorch/v/f.h5", ("kaggle", "o/m/pytorch/v", None, "f.h5", None)),
        (PurePosixPath("hf://o/n/f.h5"), ("hf", "o/n", None, "f.h5", None)),
        (PureWindowsPath("hf://o/n/f.h5"), ("hf", "o/n", None, "f.h5", None)),
    ],
)
def test_addresses(text: Any, expected: tuple[str | None, ...]) -> None:
    names = ("hub", "repository", "revision", "file", "sha256")
    address = parse(text)
    assert address == Address(**dict(zip(names, expected)))
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    "path",
    ["m.h5", "a/b", "C:\\models\\m.h5", "C:/m.h5", "./hf:/o", "", b"hf://o/n", 3, None, "a:b"],
)
def test_paths_are_no_addresses(path: Any) -> None:
    assert parse(path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf://", "names no repository; expected hf://owner/name"),
        ("hf://owner", "names no repository, which is owner/name"),
        ("hf://name/best.h5", "names no repository, which is owner/name"),
        (f"hf://o/n@{COMMIT}/{'x' * 300}", "is longer than names of files are"),
        (f"hf://o/n/{'x/' * 600}", "is longer than names of files are"),
        ("hf:o/n", "^hf:o/n: lacks // as in hf://o/n; expected hf://owner/name"),
        ("hf:/o/n/f.h5", "lacks // as in hf://o/n/f.h5; "),
        ("hf:///o/n", "hf://o/n has none"),
        ("hf://o//n", "hf://o/n has none"),
        ("hf://o/n/../../etc/passwd", "lead nowhere"),
        ("hf://o/n/./f.h5", "lead nowhere"),
        ("hf://../n/f.h5", "lead nowhere"),
        ("hf://o/n@..%2F..%2Fx/f.h5", "is no branch, tag or commit"),
        ("hf://o/n@%2e%2e/f.h5", "is no branch, tag or commit"),
        ("hf://o/n@/f.h5", "is no branch, tag or commit"),
        ("hf://o/n@-x", "is no branch, tag or commit"),
        ("hf://o/a--b/f.h5", "no name of an owner or a repository"),
        ("hf://o/%2e%2e/f.h5", "no name of an owner or a repository"),
        ("hf://datasets/o/n/f.h5", "repositories of models, not in datasets"),
        ("hf://o\\n\\f.h5", "as hf://o/n/f.h5"),
        ("hf:\\\\o\\n", "as hf://o/n"),
        ("hf://o/n/f.h5/", "a file has no / at its end"),
        ("hf://o/n/f.h5?download=true", r"^hf://o/n/f.h5\?\.\.\.: what follows a \?"),
        ("hf://o/n/f\nx.h5", "nothing is unprintable"),
        ("hf://o/n/f\0.h5", "nothing is unprintable"),
        ("hf://huggingface.co/o/n", "without the name of the host"),
        ("hf://o/n/f.h5#sha256=12", "64 hexadecimal digits"),
        (f"hf://o/n/f.h5#md5={SHA}", "64 hexadecimal digits"),
        ("hf://o/n/f.h5#", "64 hexadecimal digits"),
        ("kaggle://o", "names no model"),
        ("kaggle://o/m/kears/v", "no framework of Kaggle's, keras, .*did you mean 'keras'"),
        ("kaggle://o/m/f.h5", "no framework of Kaggle's"),
        ("kaggle://o/m/keras/v/v3", "v3 is no version, these are 1, 2"),
        ("kaggle://o/m/keras/v/0", "0 is no version"),
        ("https://huggingface.co/o/n/blob/v1/a/f.h5", "did you mean hf://o/n@v1/a/f.h5"),
        ("https://hf.co/o/n/resolve/main/f.h5?x=1#y", "did you mean hf://o/n/f.h5"),
        ("https://www.kaggle.com/models/o/m/keras/v/3", "did you mean kaggle://o/m/keras/v/3"),
        ("https://example.com/f.h5", "only from hf://owner/name or kaggle://owner/model"),
        ("s3://bucket/f.h5", "begin with hf://owner/name or kaggle://owner/model"),
        ("kagle://o/m/keras/v", "did you mean 'kaggle'"),
        ("file:///m.h5", "give the path itself"),
    ],
)
def test_what_is_no_address_is_told(text: str, message: str) -> None:
    with pytest.raises(HubError, match=message) as error:
        released.path_of(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "hf://me:hf_secret@huggingface.co/o/n",
        "hf://hf_secret@o/n/f.h5",
        "kaggle://me:hf_secret@o/m/keras/v",
        "hf:\\\\me:hf_secret@o\\n",
        "https://me:hf_secret@huggingface.co/o/n",
        "hf://o/n/f.h5?token=hf_secret",
        "hf://o/n/f.h5#token=hf_secret",
        "https://huggingface.co/o/n/resolve/main/f.h5?token=hf_secret",
    ],
)
def test_secrets_in_addresses_are_not_shown(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--weights", text, "o.onnx"]) == 2
    assert main(["inspect", text]) == 1
    captured = capsys.readouterr()
    assert "hf_secret" not in captured.out + captured.err
    assert captured.err.count("\n") == 1


def test_a_folder_that_is_named_as_another_scheme_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "b").mkdir(parents=True)
    assert released.path_of("s3://b") == Path("s3:/b")


def test_names_of_repositories_are_no_paths() -> None:
    with pytest.raises(WeightFileError, match=r"no such file; weights on a hub .* hf://o/n$"):
        ferjax.load("o/n")
    name = "vinitvyas09/cnn_model_emotion_classification"
    with pytest.raises(WeightFileError, match=f"no such file; on Kaggle it is kaggle://{name}$"):
        ferjax.load(name)
    assert hint("o/m/keras/v/1") == "; on Kaggle it is kaggle://o/m/keras/v/1"
    assert hint("a/b/c") == hint("a/b.h5") == hint("/a/b") == hint("b") == ""


# --- which files ---------------------------------------------------------------------------------


def choose(text: str, *names: str) -> choice.Choice:
    address = parse(text)
    assert address is not None
    return choice.chosen(address, dict.fromkeys(names, 5))


def test_the_only_weight_file_is_chosen_with_its_metadata() -> None:
    chosen = choose("hf://o/n", "README.md", "m.h5", "m.metadata.json", "._m.h5", "keras/m.keras")
    assert chosen == choice.Choice("m.h5", ("m.h5",), "m.metadata.json", 5)
    assert choose("hf://o/n", "a/m.weights.h5", "x.txt").path == "a/m.weights.h5"
    assert choose("hf://o/n/a/m.h5", "a/m.h5", "m.metadata.json").metadata is None


def test_a_model_that_keras_saved_to_a_repository_is_a_folder() -> None:
    files = ("config.json", "model.weights.h5", "metadata.json")
    assert choose("hf://o/n", "README.md", *files) == choice.Choice("", files, None, 15)
    shards = ("model.weights.json", "model_00000.weights.h5", "model_00001.weights.h5")
    chosen = choose("hf://o/n", "config.json", *shards)
    assert (chosen.path, chosen.files) == ("", ("config.json", *shards))
    assert choose("hf://o/n/model.weights.json", *shards).files == shards


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        (
            "hf://o/n",
            ["a.h5", "b.keras"],
            "2 weight files, give one: hf://o/n/a.h5, hf://o/n/b.ker",
        ),
        ("hf://o/n@v1", ["a/x.h5", "b/x.h5"], "give one: hf://o/n@v1/a/x.h5, hf://o/n@v1/b/x.h5"),
        ("kaggle://o/m/keras/v/2", ["a.h5", "b.h5"], "kaggle://o/m/keras/v/2/a.h5"),
        ("hf://o/n", [], "no weight file of Keras or Flax: it is empty"),
        ("hf://o/n", ["README.md"], "no weight file of Keras or Flax: it has README.md$"),
        ("hf://o/n", ["variables/x", "saved_model.pb"], "a TensorFlow SavedModel; save the model"),
        ("hf://o/n", ["pytorch_model.bin"], "a PyTorch file"),
        ("hf://o/n/best.h5", ["bets.h5"], "no such file; did you mean 'bets.h5'"),
        ("hf://o/n/x.h5", ["best.h5", "README.md"], "no such file; it has best.h5$"),
        ("hf://o/n/w", ["w/a.h5", "w/b.txt"], "a folder, give a file in it: w/a.h5"),
        ("hf://o/n", ["../m.h5", "/m.h5", "a//m.h5", "..\\m.h5"], "it is empty"),
        ("hf://o/n/m.tflite", ["m.tflite"], "TensorFlow Lite"),
        ("hf://o/n/ckpt.index", ["ckpt.index"], "a part of a TensorFlow checkpoint"),
    ],
)
def test_what_cannot_be_chosen_is_told(text: str, names: list[str], message: str) -> None:
    with pytest.raises(HubError, match=message):
        choose(text, *names)


def test_nothing_larger_than_weights_is_fetched() -> None:
    with pytest.raises(HubError, match=r"17,179,869,185 bytes, expected at most 17,179,869,184"):
        choice.chosen(Address(hub="hf", repository="o/n"), {"m.h5": (16 << 30) + 1})


# --- without the libraries -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "module"), [("hf://o/n", "huggingface_hub"), ("kaggle://o/m/keras/v/1", "kagglehub")]
)
def test_a_missing_library_is_named(
    text: str, module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["convert", text, "m.h5"]) == 2
    name = module.replace("_", "-")
    expected = f'ferjax: error: {text}: needs {name}: pip install "ferjax[hub]"\n'
    assert capsys.readouterr().err == expected


# --- Hugging Face --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a weight file that has metadata beside it."""
    path = tmp_path_factory.mktemp("model") / "tiny.h5"
    network = tiny()
    ferjax.keras.save(path, network.graph, drawn(network))
    metadata.write(path, {"labels": LABELS[::-1], "value_range": [-1, 1]})
    return path


@pytest.fixture
def files(model: Path) -> dict[str, bytes]:
    sidecar = metadata.sidecar(model)
    return {"tiny.h5": model.read_bytes(), sidecar.name: sidecar.read_bytes(), "README.md": b"x"}


@pytest.fixture
def hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return hub_server.hugging_face(tmp_path, monkeypatch)


@pytest.fixture
def served(hugging_face: SimpleNamespace, files: dict[str, bytes]) -> Iterator[Hub]:
    with serving(Hub(files=files), HuggingFace) as server:
        hugging_face.online(server.url)
        yield server


def test_the_cache_is_used_offline(
    hugging_face: SimpleNamespace, files: dict[str, bytes], model: Path
) -> None:
    folder = plant(hugging_face.cache, files)
    for text in ("", "/tiny.h5", "@main/tiny.h5", f"@{COMMIT}", f"@{COMMIT}/tiny.h5"):
        assert released.path_of(f"hf://someone/emotions{text}") == folder / "tiny.h5"
    digest = digests.sha256(model)
    assert released.path_of(f"hf://someone/emotions/tiny.h5#sha256={digest}").is_file()
    classifier = ferjax.load("hf://someone/emotions")
    assert (classifier.labels, classifier.value_range) == (tuple(LABELS[::-1]), (-1.0, 1.0))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("@v2/tiny.h5", "not in the cache, which has main, and HF_HUB_OFFLINE is set; fetch it"),
        ("/tny.h5", r"no such file in the cache \(HF_HUB_OFFLINE is set\); did you mean 'tiny.h5'"),
        (f"/tiny.h5#sha256={SHA}", "has another SHA-256, [0-9a-f]{64}; it is not used"),
        (f"@{'1' * 40}", "not in the cache"),
    ],
)
def test_what_the_cache_lacks_is_told(
    rest: str, message: str, hugging_face: SimpleNamespace, files: dict[str, bytes]
) -> None:
    plant(hugging_face.cache, files)
    with pytest.raises(HubError, match=message):
        released.path_of(f"hf://someone/emotions{rest}")
    with pytest.raises(HubError, match="not in the cache, and HF_HUB_OFFLINE is set; fetch it"):
        released.path_of("hf://someone/else")


def test_a_ref_that_leads_out_of_the_cache_is_not_followed(
    hugging_face: SimpleNamespace, files: dict[str, bytes]
) -> None:
    plant(hugging_face.cache, files)
    (hugging_face.cache / "models--someone--emotions" / "refs" / "main").write_text("../../../x")
    with pytest.raises(HubError, match="not in the cache"):
        released.path_of("hf://someone/emotions/tiny.h5")


def test_all_that_takes_weights_takes_addresses(
    hugging_face: SimpleNamespace,
    files: dict[str, bytes],
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plant(hugging_face.cache, files)
    address, target = "hf://someone/emotions/tiny.h5", tmp_path / "copy.keras"
    assert main(["inspect", address]) == 0
    assert main(["convert", address, str(target)]) == 0
    assert main(["verify", address, str(target)]) == 0
    assert main(["export", "--weights", address, str(tmp_path / "m.onnx")]) == 0
    assert "equal: largest difference" in capsys.readouterr().out
    assert metadata.read(target)["value_range"] == [-1, 1]
    read = ferjax.keras.load(address)
    assert read.graph == ferjax.keras.load(address, config=address).graph
    assert ferjax.keras.inspect(address).kind == weights.inspect(address).kind == "h5"
    assert main(["convert", str(target), "hf://someone/emotions"]) == 2
    assert "written to by `ferjax push hf://someone/emotions WEIGHTS`" in capsys.readouterr().err
    with pytest.raises(WeightFileError, match=r"`ferjax convert hf://someone.* mine.h5` makes a"):
        released.own_path(address)


def test_a_model_that_keras_saved_to_a_repository_is_read(
    hugging_face: SimpleNamespace, fixtures: Path
) -> None:
    with zipfile.ZipFile(fixtures / "keras-3.15.1" / "nested_sequential.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    folder = plant(hugging_face.cache, {**members, "README.md": b"x"})
    assert released.path_of("hf://someone/emotions") == folder
    assert ferjax.keras.load("hf://someone/emotions").kind == "keras"
    with pytest.raises(HubError, match="a hash is of one file, and these weights are a folder"):
        released.path_of(f"hf://someone/emotions#sha256={SHA}")


def test_hostile_files_are_refused_as_any_others(
    hugging_face: SimpleNamespace, files: dict[str, bytes]
) -> None:
    hostile = {
        "lfs.h5": b"version https://git-lfs.github.com/spec/v1\n",
        "pickle.h5": b"\x80\x04cos\nsystem\n(S'touch gone'\ntR.",
        "half.h5": files["tiny.h5"][:3000],
        "graph.h5": b"\x08\x01\x12\x00",
    }
    plant(hugging_face.cache, hostile)
    for name, message in {
        "lfs.h5": "a Git LFS pointer",
        "pickle.h5": "a Python pickle, which is never opened",
        "half.h5": "truncated",
        "graph.h5": "TensorFlow SavedModel; save the model as",
    }.items():
        with pytest.raises(WeightFileError, match=message):
            ferjax.load(f"hf://someone/emotions/{name}")


def test_weights_are_fetched_once_with_their_metadata(served: Hub) -> None:
    path = released.path_of("hf://someone/emotions@v1/tiny.h5")
    assert path.parent.name == COMMIT and metadata.read(path)["labels"] == LABELS[::-1]
    gets = [request for request in served.requests if request.startswith("GET")]
    resolve = "GET /someone/emotions/resolve"
    assert gets == [f"{resolve}/{COMMIT}/tiny.metadata.json", f"{resolve}/v1/tiny.h5"]
    assert "agent/" not in served.headers["user-agent"]
    served.requests.clear()
    assert released.path_of("hf://someone/emotions") == path
    assert served.requests[0] == "GET /api/models/someone/emotions"
    assert not [r for r in served.requests if r.startswith("GET /someone")]
    served.requests.clear()
    assert released.path_of(f"hf://someone/emotions@{COMMIT}/tiny.h5") == path
    assert not served.requests


def test_weights_without_metadata_are_fetched(served: Hub) -> None:
    del served.files["tiny.metadata.json"]
    path = released.path_of("hf://someone/emotions/tiny.h5")
    assert path.is_file() and not metadata.sidecar(path).exists()
    served.requests.clear()
    assert released.path_of(f"hf://someone/emotions@{COMMIT}/tiny.h5") == path
    assert not served.requests  # it is known that there is none


def test_a_server_that_says_no_more_than_404_will_do(served: Hub) -> None:
    served.fault = "plain"
    del served.files["tiny.metadata.json"]
    assert released.path_of("hf://someone/emotions/tiny.h5").is_file()
    with pytest.raises(HubError, match=r"no such repository, revision or file \(HTTP 404\)"):
        released.path_of("hf://someone/emotions/tny.h5")


def test_a_file_that_is_elsewhere_is_followed(served: Hub) -> None:
    served.fault = "moved"
    path = released.path_of("hf://someone/emotions/tiny.h5")
    assert path.read_bytes() == served.files["tiny.h5"]


@pytest.mark.parametrize(
    ("rest", "fault", "message"),
    [
        ("/tny.h5", "", "no such file; did you mean 'tiny.h5'"),
        ("@v2/tiny.h5", "", "no such revision, v2; it has main, v1"),
        ("@v2", "", "no such revision, v2"),
        ("/tiny.h5", "private", "no such repository, or a private one: log in by `hf auth login`"),
        ("", "private", "no such repository, or a private one"),
        ("/tiny.h5", "gated", "to those who accept its conditions, at http://127.*/someone/emot"),
        ("/tiny.h5", "broken", "answers with HTTP 503; try again later"),
        ("", "portal", "answers with what is no JSON, and may be another server"),
        # It is tried five times over 23 seconds.
        pytest.param("/tiny.h5", "half", "answers with HTTP 503", marks=pytest.mark.slow),
        ("/tiny.h5", "damaged", "arrived damaged, with another SHA-256"),
    ],
)
def test_answers_that_give_no_file(rest: str, fault: str, message: str, served: Hub) -> None:
    served.fault = fault
    with pytest.raises(HubError, match=message) as error:
        released.path_of(f"hf://someone/emotions{rest}")
    assert "\n" not in str(error.value)
    served.fault = ""  # nothing of it is left in the cache
    assert released.path_of("hf://someone/emotions/tiny.h5").read_bytes() == served.files["tiny.h5"]


def test_a_hub_that_does_not_answer_leaves_the_cache(
    served: Hub, hugging_face: SimpleNamespace
) -> None:
    hugging_face.online("http://127.0.0.1:9")  # discard: nothing listens
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        released.path_of("hf://someone/emotions/tiny.h5")
    hugging_face.online("http://me:hf_secret@127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://\.\.\.@127\.0\.0\.1:9 cannot be reached"):
        released.path_of("hf://someone/emotions/tiny.h5")
    hugging_face.online(served.url)
    path = released.path_of("hf://someone/emotions/tiny.h5")
    served.fault = "broken"
    with pytest.warns(
        UserWarning, match="HTTP 503; try again later; the copy in the cache is used"
    ):
        assert released.path_of("hf://someone/emotions/tiny.h5") == path
    with pytest.warns(UserWarning, match="the copy in the cache is used"):
        assert released.path_of("hf://someone/emotions") == path


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["truncated", "slow"])
def test_a_download_that_breaks_off_leaves_no_file(
    fault: str, served: Hub, hugging_face: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hugging_face.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    served.fault = fault
    with pytest.raises(HubError, match=r"cannot be reached|broke off"):
        released.path_of("hf://someone/emotions/tiny.h5")
    served.fault = ""
    assert released.path_of("hf://someone/emotions/tiny.h5").read_bytes() == served.files["tiny.h5"]


@pytest.mark.slow
def test_the_environment_is_obeyed(tmp_path: Path, files: dict[str, bytes]) -> None:
    """In a process of its own, because the library reads it at import."""
    pytest.importorskip("huggingface_hub")
    plant(tmp_path, files)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    call = [sys.executable, "-m", "ferjax", "inspect", "hf://someone/emotions", "--json"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    assert '"usable": true' in done.stdout and str(tmp_path) in done.stdout
    call[-2] = "hf://someone/none"
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert "not in the cache, and HF_HUB_OFFLINE is set" in done.stdout and not done.stderr


# --- Kaggle --------------------------------------------------------------------------------------


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Set kagglehub up with a cache of its own, offline."""
    pytest.importorskip("kagglehub")
    environment = pytest.importorskip("kagglesdk.kaggle_env")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def online(url: str) -> None:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setitem(environment._env_to_endpoint, environment.KaggleEnv.PROD, url)

    return SimpleNamespace(models=tmp_path / "kaggle" / "models", online=online)


def plant_kaggle(models: Path, handle: str, files: dict[str, bytes], whole: bool = True) -> Path:
    """Put files into a cache as kagglehub does, of a whole version or one by one."""
    folder = models / handle
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        if not whole:
            mark = folder.parent / ".complete" / folder.name / f"{name}.complete"
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
    if whole:
        folder.with_name(f"{folder.name}.complete").touch()
    return folder


@pytest.mark.parametrize("whole", [True, False])
def test_a_version_in_kaggles_cache_is_used_offline(
    whole: bool, kaggle: SimpleNamespace, files: dict[str, bytes], model: Path
) -> None:
    handle = "vinitvyas09/cnn_model_emotion_classification/keras/default"
    older = plant_kaggle(kaggle.models, f"{handle}/1", files, whole)
    folder = plant_kaggle(kaggle.models, f"{handle}/12", files, whole)
    (kaggle.models / handle / "13").mkdir()  # of which nothing is whole
    (kaggle.models / handle / "13" / "tiny.h5").touch()
    assert released.path_of(f"kaggle://{handle}/1") == older / "tiny.h5"
    pin = f"#sha256={digests.sha256(model)}"
    for text in (f"{handle}/12/tiny.h5{pin}", handle, "/".join(handle.split("/")[:2])):
        assert released.path_of(f"kaggle://{text}") == folder / "tiny.h5"
    assert ferjax.load(f"kaggle://{handle}/12").labels == tuple(LABELS[::-1])
    with pytest.raises(HubError, match=r"no such file in the cache \(HF_HUB_OFFLINE is set\)"):
        released.path_of(f"kaggle://{handle}/12/other.h5")
    with pytest.raises(HubError, match="not in the cache in version 13, and HF_HUB_OFFLINE is set"):
        released.path_of(f"kaggle://{handle}/13")
    with pytest.raises(HubError, match="has another SHA-256"):
        released.path_of(f"kaggle://{handle}/12#sha256={SHA}")
    plant_kaggle(kaggle.models, "vinitvyas09/cnn_model_emotion_classification/jax/other/1", files)
    with pytest.raises(HubError, match=r"2 variations, give one: kaggle://.*/jax/other, kaggle"):
        released.path_of("kaggle://vinitvyas09/cnn_model_emotion_classification")


@pytest.fixture
def kaggle_served(kaggle: SimpleNamespace, files: dict[str, bytes]) -> Iterator[Hub]:
    with serving(Hub(files=files), Kaggle) as server:
        kaggle.online(server.url)
        yield server


def test_weights_are_fetched_from_kaggle(
    kaggle_served: Hub, kaggle: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kaggle.models / "someone/emotions/keras/default/3/tiny.h5"
    assert released.path_of("kaggle://someone/emotions") == path
    assert metadata.read(path)["labels"] == LABELS[::-1]
    loaded = [
        a["path"] for p, a in kaggle_served.bodies if p.endswith("DownloadModelInstanceVersion")
    ]
    assert loaded == ["tiny.metadata.json", "tiny.h5"]
    kaggle_served.bodies.clear()
    assert released.path_of("kaggle://someone/emotions/keras/default/3/tiny.h5") == path
    assert not kaggle_served.bodies
    assert released.path_of("kaggle://someone/emotions/keras/default") == path
    kaggle_served.fault = "broken"
    with pytest.warns(
        UserWarning, match="HTTP 503; try again later; the copy in the cache is used"
    ):
        assert released.path_of("kaggle://someone/emotions/keras") == path
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("rest", "fault", "message"),
    [
        ("emotions/keras/default/3/tny.h5", "", "no such file; did you mean 'tiny.h5'"),
        ("emotions/jax", "", "no such framework or variation"),
        ("other/keras/default/1", "", "no such model, or one that is private .* KAGGLE_API_TOKEN"),
        ("emotions", "private", "no such model, or one that is private"),
        ("emotions/keras/default/3", "broken", "Kaggle answers with HTTP 503"),
        ("emotions/keras/default/3", "truncated", "the download broke off; try again"),
        ("emotions/keras/default/3", "damaged", "arrived damaged, with another hash than Kaggle"),
    ],
)
def test_kaggles_answers_that_give_no_file(
    rest: str, fault: str, message: str, kaggle_served: Hub
) -> None:
    kaggle_served.fault = fault
    with pytest.raises(HubError, match=message) as error:
        released.path_of(f"kaggle://someone/{rest}")
    assert "\n" not in str(error.value)
    if rest.endswith("/3"):  # nothing of it is taken for whole
        kaggle_served.fault = ""
        path = released.path_of(f"kaggle://someone/{rest}")
        assert path.read_bytes() == kaggle_served.files["tiny.h5"]


def test_kaggle_that_does_not_answer(kaggle: SimpleNamespace) -> None:
    kaggle.online("http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"Kaggle cannot be reached \(.*refused"):
        released.path_of("kaggle://someone/emotions/keras/default/1/m.h5")


def test_hubs_are_imported_when_first_used() -> None:
    assert hub.parse("m.h5") is None
    code = "import sys, ferjax.cli.main, ferjax.weights; print({*sys.modules} & {*sys.argv[1:]})"
    call = [sys.executable, "-c", code, "huggingface_hub", "kagglehub", "requests"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
