"""`--on ray`: what is refused before anything is begun, and, slowly, real runs."""

from __future__ import annotations

import csv
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

import ferjax
from ferjax.errors import FerjaxError, ImageError
from ferjax.scale.attempts import Attempt
from ferjax.scale.cluster import ClusterOptions, _explained, _pool, check_address, require_ray
from ferjax.scale.folder import Folder
from ferjax.scale.jobs import Part, PictureJob, check_seen
from ferjax.scale.run import Run

from ..conftest import ROOT
from ..scale.photographs import FACE, write_photographs

sys.path.insert(0, str(ROOT / "scripts"))

Cli = Callable[..., Any]
LABELS = ["--labels", "a,b,c,d,e,f,g"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photographs(tmp_path / "photos")


@pytest.fixture
def faces(cli: Cli, model: Path) -> Cli:
    """Run the command with a small network: `faces(path, "--out", path)`."""
    pytest.importorskip("ray", reason="needs ray")

    def run(*arguments: object) -> Any:
        return cli("faces", *arguments, "--on", "ray", "--weights", model, *LABELS)

    return run


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--draw", "d"], "--draw is not for runs on Ray, which write Parquet files to --out"),
        (["--json"], "--json is not for runs on Ray, which write Parquet files to --out"),
        ([], "--on ray writes Parquet files: give --out DIR too"),
        (["--out", ""], "--on ray writes Parquet files: give --out DIR too"),
        (["--out", "o", "--prior", "adapt"], "--prior adapt takes all faces before the first"),
        (["--out", "o", "--address", "host"], "expected HOST:PORT or auto for --address"),
    ],
)
def test_options_that_do_not_go_together(
    faces: Cli,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = faces(photos, *arguments)
    assert done.code == 2
    assert done.error.startswith(f"ferjax: error: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("command", ["faces", "predict", "video"])
@pytest.mark.parametrize("option", [["--out", "o"], ["--workers", "2"], ["--address", "auto"]])
def test_options_of_ray_without_it(cli: Cli, command: str, option: list[str]) -> None:
    done = cli(command, "photos", *option)
    assert done.code == 2
    assert done.error == f"ferjax: error: {option[0]} is for runs on Ray: give --on ray too"


def test_resuming_a_prediction_takes_ray(cli: Cli) -> None:
    assert cli("predict", "a.png", "--resume").error.endswith("give --on ray too")


def test_sources_that_hold_nothing(faces: Cli, tmp_path: Path) -> None:
    out, empty = tmp_path / "rows", tmp_path / "empty"
    empty.mkdir()
    for source, message in (
        (tmp_path / "gone", f"{tmp_path}/gone: no such file or folder"),
        (empty, f"{empty}: no images in this folder; expected files such as .png or .jpg"),
    ):
        done = faces(source, "--out", out)
        assert (done.code, done.error) == (2, f"ferjax: error: {message}")
    assert not out.exists()


def test_memory_that_workers_do_not_see(faces: Cli, photos: Path, tmp_path: Path) -> None:
    for source, out in ((photos, "memory://rows"), ("memory://rows", tmp_path / "rows")):
        done = faces(source, "--out", out)
        assert done.code == 2
        assert done.error.startswith("ferjax: error: memory://rows: the memory of one process, wh")
    assert not (tmp_path / "rows").exists()


def test_a_cluster_that_nobody_is_at(
    faces: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # where nobody listens
        for address in (f"127.0.0.1:{port}", f"localhost:{port}"):
            done = faces(photos, "--out", tmp_path / "rows", "--address", address)
            assert done.code == 2
            assert done.error.startswith(f"ferjax: error: {address}: no Ray is reached there (Conn")
        monkeypatch.setenv("RAY_ADDRESS", address)
        done = faces(photos, "--out", tmp_path / "rows")
        assert done.code == 2
        assert done.error.startswith(f"ferjax: error: {address}: no Ray is reached there (Conn")
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(
    "address", ["host", "host:", ":1", "host:x", "ray://host", "host:99999", f"host:{'9' * 5000}"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(FerjaxError, match=r"expected HOST:PORT or auto for --add"):
        check_address(address)


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 70}.b"])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(FerjaxError, match=r": no Ray is reached there \("):
        check_address(f"{host}:6379")


@pytest.mark.parametrize("gpus", [1.5, 0.00001])
def test_gpus_that_ray_cannot_give(gpus: float) -> None:
    with pytest.raises(FerjaxError, match=f"for --gpus, got {gpus:.10g}"):
        ClusterOptions(gpus=gpus).check()


@pytest.mark.parametrize(("gpus", "workers"), [(0.1, 10), (0.3, 3), (1.0, 1)])
def test_as_many_workers_as_a_gpu_has_parts(gpus: float, workers: int) -> None:
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 16.0, "GPU": 1.0})
    assert _pool(ray, ClusterOptions(gpus=gpus), is_local=False).workers == workers


def test_folders_of_other_runs(faces: Cli, cli: Cli, photos: Path, model: Path) -> None:
    out = photos.parent / "rows"
    classifier = ferjax.load(model, labels=list("abcdefg"))
    from ferjax.faces.settings import Settings

    asked = {
        "COMMAND": "faces",
        **Settings().asked(classifier, []),
        "SOURCE": [str(photos)],
        "given": [str(photos)],
    }
    Folder(str(out)).begin(asked, 16, replace=False)
    done = faces(photos, "--out", out)
    assert done.error == (
        f"ferjax: error: {out}: holds an unfinished run; --resume goes on with it, --force "
        "replaces it"
    )
    done = faces(photos, "--out", out, "--resume", "--min-score", "0.9")
    assert "begun with --min-score 0.7, expected the same to go on with it" in done.error
    done = faces(photos / "sub", "--out", out, "--resume")
    assert f"the run was begun with SOURCE {photos}, expected the same" in done.error
    other = model.with_name("other.h5")
    done = cli("predict", photos, "--on", "ray", "--out", out, "--resume", "--weights", model,
               *LABELS)  # fmt: skip
    assert "the run was begun with COMMAND faces" in done.error
    assert not other.exists()
    done = cli("faces", photos, "--on", "ray", "--out", out, "--resume")
    assert done.error == f"ferjax: error: {out}: the run was begun with other weights; --force " \
        "begins anew"  # fmt: skip


def test_ray_that_is_missing(
    faces: Cli, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = faces(photos, "--out", tmp_path / "rows")
    assert done.code == 2
    assert done.error.endswith('which is not installed: pip install "ferjax[ray]"')


def test_a_machine_that_does_not_see_the_photographs(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    check_seen([str(tmp_path / "gone.jpg"), str(tmp_path / "a.jpg")], "host")
    with pytest.raises(FerjaxError, match=r"gone\.jpg: not seen on host; give a folder that all"):
        check_seen([str(tmp_path / "gone.jpg")], "host")


def test_workers_that_cannot_begin() -> None:
    exceptions = pytest.importorskip("ray.exceptions", reason="needs ray")
    missing = ModuleNotFoundError("No module named 'cv2'")
    trace = f"Traceback (most recent call last):\n  File\nModuleNotFoundError: {missing}"
    error = exceptions.ActorDiedError(exceptions.RayTaskError("Worker", trace, missing))
    assert _explained(error) == f"Ray: a worker cannot begin: ModuleNotFoundError: {missing}"


def test_the_usage_statistics_of_ray_are_off() -> None:
    pytest.importorskip("ray", reason="needs ray")
    os.environ.pop("RAY_USAGE_STATS_ENABLED", None)
    require_ray()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


# --- parts ---------------------------------------------------------------------------------------


def test_parts_are_all_that_is_left_and_have_the_same_names_again(
    photos: Path, tmp_path: Path, model: Path
) -> None:
    pytest.importorskip("ray", reason="needs ray")
    from ferjax.faces.options import FaceOptions
    from ferjax.scale.folder import key_of

    classifier = ferjax.load(model, labels=list("abcdefg"))

    def run() -> Run:
        return Run(
            classifier, [str(photos)], PictureJob(FaceOptions()), {}, out=str(tmp_path / "rows"),
            cluster=ClusterOptions(),
        )  # fmt: skip

    names = [str(photos / name) for name in ("empty.jpg", "none.png", "one.png", "sub/two.png")]
    parts = list(run()._parts(2, set()))
    assert [part.paths for part in parts] == [names[:2], names[2:]]
    assert parts == list(run()._parts(2, set()))
    left = list(run()._parts(2, {key_of(names[0]), key_of(names[1])}))
    assert left == parts[1:]
    (part,) = run()._parts(2, {key_of(name) for name in names[1:]})
    assert part.paths == names[:1] and part.name != parts[0].name
    assert run().result.left_out == 0 and run().result.total == 4
    with pytest.raises(ImageError, match="no such file or folder"):
        Run(
            classifier, ["gone"], PictureJob(FaceOptions()), {}, out=str(tmp_path / "rows"),
            cluster=ClusterOptions(),
        )  # fmt: skip


def test_addresses_that_lead_into_one_another_give_each_photograph_once(
    photos: Path, tmp_path: Path, model: Path
) -> None:
    pytest.importorskip("ray", reason="needs ray")
    pytest.importorskip("fsspec", reason="needs fsspec")
    from ferjax.faces.options import FaceOptions

    whole = f"local://{photos}"
    run = Run(
        ferjax.load(model, labels=list("abcdefg")), [f"{whole}/sub", whole, f"{whole}/"],
        PictureJob(FaceOptions()), {}, out=str(tmp_path / "rows"), cluster=ClusterOptions(),
    )  # fmt: skip
    names = [name for part in run._parts(2, set()) for name in part.names]
    assert names == [f"{whole}/{n}" for n in ("sub/two.png", "empty.jpg", "none.png", "one.png")]
    assert run.result.total == 4


def test_photographs_that_are_gone_since_they_were_done(
    photos: Path, tmp_path: Path, model: Path
) -> None:
    pytest.importorskip("ray", reason="needs ray")
    from ferjax.faces.options import FaceOptions

    out, names = str(tmp_path / "rows"), ["empty.jpg", "gone.jpg", "none.png", "one.png"]
    classifier, job = ferjax.load(model, labels=list("abcdefg")), PictureJob(FaceOptions())
    folder = Folder(out)
    folder.begin({"SOURCE": [str(photos)], "given": [str(photos)]}, 9, replace=False)
    part = Part("part-a", "", [str(photos / name) for name in [*names, "sub/two.png"]])
    with Attempt(folder, part.name, 5) as attempt:
        job.do(classifier, part, folder.writer(), attempt)
    run = Run(
        classifier, [str(photos)], job, {}, out=out, cluster=ClusterOptions(), resume=True
    )  # fmt: skip
    result = run.do(lambda count: None, lambda: None, lambda text: None)
    assert (result.before, result.total) == (5, 5)


# --- real runs -----------------------------------------------------------------------------------


def command(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ferjax in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "ferjax", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env=env, timeout=600,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_gives_the_rows_of_one_process_and_goes_on(
    photos: Path, tmp_path: Path, model: Path
) -> None:
    pytest.importorskip("ray", reason="needs ray")
    scale_engines = importlib.import_module("benchmarks.scale_engines")
    common = ["faces", "photos", "--weights", model, *LABELS]
    ray = [*common, "--on", "ray", "--workers", 2, "--out", "rows"]
    done = command(*ray, cwd=tmp_path)
    said = "4 photographs: 3 faces, 1 without a face, 1 could not be read; "
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(said)
    assert done.stdout.endswith(" a second\n  1 x empty, N bytes\n")
    command(*common, "--csv", "faces.csv", cwd=tmp_path)
    expected = scale_engines.csv_rows(tmp_path / "faces.csv")
    found = scale_engines.parquet_rows(tmp_path / "rows")
    assert scale_engines.compared(expected, found) == "the same"
    summary = json.loads((tmp_path / "rows" / "_summary.json").read_text(encoding="utf-8"))
    assert (summary["photographs"], summary["faces"], summary["without_face"]) == (4, 3, 1)
    assert (summary["failed"], summary["errors"]) == (1, {"empty, N bytes": 1})
    assert summary["asked"]["--min-score"] == 0.7

    parts = {path.name for path in (tmp_path / "rows").glob("*.parquet")}
    cv2.imwrite(str(tmp_path / "photos" / "new.png"), FACE)
    done = command(*ray, "--resume", cwd=tmp_path)
    assert done.stderr == "ferjax: note: 4 of 5 are done already\n"
    assert done.stdout.startswith("5 photographs: 4 faces, 1 without a face, 1 could not be read")
    assert parts < {path.name for path in (tmp_path / "rows").glob("*.parquet")}
    command(*common, "--csv", "faces.csv", "--force", cwd=tmp_path)
    expected = scale_engines.csv_rows(tmp_path / "faces.csv")
    found = scale_engines.parquet_rows(tmp_path / "rows")
    assert scale_engines.compared(expected, found) == "the same"
    left = [p.name for p in tmp_path.iterdir()]
    assert sorted(n for n in left if not n.startswith(".")) == ["faces.csv", "photos", "rows"]


DEADLY = """
import os, signal, sys
import ferjax
from ferjax.faces.options import FaceOptions
from ferjax.scale.attempts import Attempt
from ferjax.scale.cluster import ClusterOptions
from ferjax.scale.jobs import PictureJob
from ferjax.scale.predictor import Predictor
from ferjax.scale.run import Run

class Deadly(Predictor):
    def rows(self, sources, names):
        if any(name.endswith("two.png") for name in names):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().rows(sources, names)

class Job(PictureJob):
    def _predictor(self, classifier):
        predictor = super()._predictor(classifier)
        predictor.__class__ = Deadly
        return predictor

classifier = ferjax.load(sys.argv[1], labels=list("abcdefg"))
job, cluster = Job(FaceOptions()), ClusterOptions(workers=2)
run = Run(classifier, ["photos"], job, {}, out="rows", cluster=cluster)
notes = []
run.do(lambda count: None, lambda: None, notes.append)
print(*run.result.lines(), *set(notes), sep="\\n")
"""


@pytest.mark.slow
def test_a_photograph_that_ends_workers_is_left_out(
    photos: Path, tmp_path: Path, model: Path
) -> None:
    pytest.importorskip("ray", reason="needs ray")
    (tmp_path / "deadly.py").write_text(DEADLY, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "deadly.py", str(model)], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *others = done.stdout.splitlines()
    assert first.startswith("4 photographs: 1 faces, 1 without a face, 2 could not be read")
    assert others[:2] == [
        "  1 x empty, N bytes",
        "  1 x left out, for the process that looks at it dies",
    ]
    assert others[2] == "a worker died; its part is done again"


@pytest.mark.slow
def test_films_and_crops(photos: Path, tmp_path: Path, model: Path) -> None:
    pytest.importorskip("ray", reason="needs ray")
    pytest.importorskip("av", reason="needs PyAV")
    from pyarrow import parquet

    from ..video.films import write_film

    films = tmp_path / "films"
    films.mkdir()
    write_film(films / "a.mp4", [FACE[..., ::-1]] * 6)
    (films / "bad.mp4").write_bytes(b"no film")
    network = ["--weights", model, *LABELS]
    on = ["--on", "ray", "--workers", 2, "--out"]
    done = command("video", "films", *network, *on, "film-rows", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("2 films: 6 faces, 0 without a face, 1 could not be read")
    rows = parquet.read_table(tmp_path / "film-rows").to_pylist()
    rows.sort(key=lambda row: (row["path"], row["frame"]))
    assert [row["path"] for row in rows] == ["films/a.mp4"] * 6 + ["films/bad.mp4"]
    assert rows[-1]["error"].startswith("films/bad.mp4: ") and rows[-1]["time"] is None
    done = command("video", "films/a.mp4", *network, "--csv", "a.csv", cwd=tmp_path)
    with open(tmp_path / "a.csv", encoding="utf-8-sig", newline="") as file:
        for row, expected in zip(rows, csv.DictReader(file)):
            assert row["x"] == float(expected["x"]) and row["label"] == expected["label"]
            assert row["smoothed_a"] == float(expected["smoothed_a"])
    done = command("predict", "photos", *network, *on, "crop-rows", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("4 images, 1 could not be read; ")
    rows = parquet.read_table(tmp_path / "crop-rows").to_pylist()
    done = command("predict", "photos", *network, "--json", cwd=tmp_path)
    entries = {entry["path"]: entry for entry in json.loads(done.stdout)}
    assert len(rows) == 4 and len(entries) == 3
    for row in rows:
        if row["error"] is None:
            entry = entries[row["path"]]
            assert row["label"] == entry["label"]
            assert row["confidence"] == pytest.approx(entry["confidence"], abs=1e-6)
