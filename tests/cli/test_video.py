"""ferjax video: what is on stdout and stderr, the files that are written, and the exit code."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import ferjax
from ferjax.errors import WriteError
from ferjax.video import run as running
from ferjax.video.growing import GrowingFile
from ferjax.video.outputs import Outputs
from ferjax.video.settings import Settings

from ..video.films import damage, head, levels, pasted, texture, write_film

Cli = Callable[..., Any]
LABELS = ["--labels", "a,b,c,d,e,f,g"]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that moves for 30 frames at 20 a second, 320x240."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    ground = texture(0)
    return write_film(
        path, (pasted(ground, [(40 + 3 * i, 60, head(100))]) for i in range(30)), rate=20
    )


@pytest.fixture
def video(cli: Cli, model: Path) -> Cli:
    """Run the command with a small network: `video(path, "--json")`."""

    def run(*arguments: object) -> Any:
        return cli("video", *arguments, "--weights", model, *LABELS)

    return run


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_events_are_printed_and_the_rest_is_on_stderr(video: Cli, film: Path) -> None:
    done = video(film, "--smooth", 0)
    assert done.code == 0
    assert "0.00 - " in done.out
    assert " s  track 1 " in done.out
    line = done.err.splitlines()[-1]  # after those on progress, where that takes long
    assert line.startswith("30 frames: 30 faces of 1 track, ")
    assert " frames/s, " in line
    assert line.endswith(" times real time")


def test_a_line_of_json_for_each_frame(video: Cli, film: Path) -> None:
    done = video(film, "--json", "--every", 10)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(line["frame"], line["time"]) for line in lines] == [(0, 0.0), (10, 0.5), (20, 1.0)]
    assert {line["engine"] for line in lines} == {"onnx"}
    (face,) = lines[1]["faces"]
    assert face["track"] == 1
    assert list(face["raw"]) == list(face["probabilities"]) == list("abcdefg")
    assert face["confidence"] == max(face["probabilities"].values())
    assert set(face) >= {"box", "score", "landmarks", "roll", "label", "index", "size"}


def test_tables_a_parquet_file_and_pandas_have_the_same_rows(
    video: Cli, film: Path, tmp_path: Path, model: Path
) -> None:
    import pyarrow.parquet

    table, events, parquet = (tmp_path / "new" / name for name in ("a.csv", "e.csv", "a.parquet"))
    done = video(film, "--csv", table, "--events", events, "--parquet", parquet)
    assert done.code == 0
    rows = rows_of(table)
    assert [(int(row["frame"]), row["track"]) for row in rows] == [(i, "1") for i in range(30)]
    assert [float(row["time"]) for row in rows] == pytest.approx([i / 20 for i in range(30)])
    labels = list("abcdefg")
    for kind in ("raw", "smoothed"):
        sums = [sum(float(row[f"{kind}_{label}"]) for label in labels) for row in rows]
        assert sums == pytest.approx([1] * 30, abs=1e-5)
    assert rows[5]["raw_a"] != rows[5]["smoothed_a"]
    stored = pyarrow.parquet.read_table(parquet).to_pylist()
    assert list(stored[0]) == list(rows[0])
    for row, other in zip(rows, stored, strict=True):
        assert (int(row["frame"]), row["label"]) == (other["frame"], other["label"])
        assert float(row["smoothed_b"]) == other["smoothed_b"]
    spans = rows_of(events)
    assert {row["track"] for row in spans} == {"1"}
    for row in spans:
        length = float(row["end"]) - float(row["start"])
        assert length == pytest.approx(float(row["duration"]), abs=2e-3)
        assert length >= 0.25
    assert sorted(p.name for p in table.parent.iterdir()) == ["a.csv", "a.parquet", "e.csv"]
    pandas = pytest.importorskip("pandas")
    classifier = ferjax.load(model, labels=labels)
    frame = ferjax.video.to_pandas(classifier.analyze_video(film, end=0.5))
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(rows[0])
    assert frame["smoothed_c"].tolist() == pytest.approx(
        [float(row["smoothed_c"]) for row in rows[:10]], abs=1e-6
    )


def test_an_annotated_film(video: Cli, film: Path, tmp_path: Path) -> None:
    path = tmp_path / "drawn.webm"
    done = video(film, "--draw", path)
    assert done.code == 0
    assert "ferjax: note: the annotated film has no sound" in done.err
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "vp9"
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == pytest.approx([i / 20 for i in range(30)])
    plain = list(ferjax.video.sources.opened(film))  # type: ignore[attr-defined]
    for i in (5, 25):
        shown, was = frames[i].to_ndarray(format="rgb24"), plain[i].image()
        assert shown.shape == (240, 320, 3)
        changed = np.abs(shown.astype(int) - was).mean(axis=2) > 60
        assert 0.03 < changed.mean() < 0.5  # a box and a plate
    assert video(film, "--draw", path).code == 0  # its own is replaced
    path.write_bytes(b"a user's")
    assert "ferjax did not write it; --force replaces it" in video(film, "--draw", path).error


def test_anonymised_faces_are_pixelated(video: Cli, film: Path, tmp_path: Path) -> None:
    path = tmp_path / "drawn.webm"
    assert video(film, "--draw", path, "--anonymise").code == 0
    assert not [face for face in ferjax.faces.detect(frame_of(path, 20)) if face.size > 40]
    assert video(film, "--anonymise").error.endswith("give --draw FILE.webm or --live too")
    done = video(film, "--draw", path, "--anonymise", "--max-faces", 1)
    assert "would leave faces as they are" in done.error
    done = video(film, "--live", "--anonymise", "--region", "0,0,99,99")
    assert "would leave faces as they are" in done.error


def frame_of(path: Path, number: int) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return next(f for i, f in enumerate(frames) if i == number).to_ndarray(format="rgb24")


def test_a_timeline(video: Cli, film: Path, tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    assert video(film, "--plot", path).code == 0
    picture = cv2.imread(str(path))
    assert picture.shape[1] == 1560
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert [p.name for p in tmp_path.iterdir()] == ["plot.png"]
    assert "expected a name that ends in .png" in video(film, "--plot", tmp_path / "x.txt").error


# --- which frames --------------------------------------------------------------------------------


def test_options_of_frames(video: Cli, film: Path) -> None:
    def frames(*options: object) -> list[int]:
        out = video(film, "--json", *options).out
        return [json.loads(line)["frame"] for line in out.splitlines()]

    assert frames("--fps", 4) == [0, 5, 10, 15, 20, 25]
    assert frames("--start", 1.0, "--end", 1.2) == [20, 21, 22, 23]
    assert frames("--start", 99) == []
    out = video(film, "--json", "--region", "0,0,30,240", "--every", 9).out
    assert [json.loads(line)["faces"] for line in out.splitlines()] == [[]] * 4
    out = video(film, "--json", "--abstain-below", 1, "--every", 15, "--detect-every", 2).out
    assert json.loads(out.splitlines()[0])["faces"][0]["label"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--every", "0"], "argument --every: expected an integer from 1 on, got '0'"),
        (["--every", "2", "--fps", "3"], "not allowed with argument"),
        (["--fps", "nan"], "argument --fps: expected a positive number, got 'nan'"),
        (["--start", "-1"], "argument --start: expected"),
        (["--start", "5", "--end", "4"], "expected seconds after `start`, 5, for `end`, got 4"),
        (["--region", "1,2,3"], "expected X,Y,WIDTH,HEIGHT in pixels, such as 0,0,640,480"),
        (["--region", "1,2,3,0"], "expected X,Y,WIDTH,HEIGHT"),
        (["--draw", "a.mp4"], "expected a name that ends in .webm for --draw, got a.mp4"),
        (["--csv", ""], "expected a path for --csv, got an empty string"),
        (["--csv", "a.csv", "--events", "./a.csv"], "expected another file for each of --csv"),
        (["--resume"], "--resume goes on with what a run wrote: give --csv, --events"),
        (["--prior", "adapt"], "needs all faces before the first result"),
        (["--calibrated"], "without a temperature"),
    ],
)
def test_mistakes(
    video: Cli,
    film: Path,
    options: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = video(film, *options)
    assert done.code == 2
    assert message in done.error
    assert list(tmp_path.iterdir()) == []


# --- bad films -----------------------------------------------------------------------------------


def test_what_is_no_film_is_a_mistake(video: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("no film\n")
    table = tmp_path / "a.csv"
    assert video(path, "--csv", table).error == (
        f"ferjax: error: {path}: is no film, or one of a kind that is not read"
    )
    assert not table.exists()
    assert video(tmp_path / "none.mp4").error.endswith("none.mp4: no such file")
    for option in ([], ["--csv", table, "--resume"]):
        assert video("", *option).error.endswith("error: expected a path, got an empty string")
    done = video(tmp_path / "none.mp4", "--csv", table, "--resume")
    assert done.error.endswith("none.mp4: no such file")
    assert video("77").error.startswith("ferjax: error: camera 77: ")


def test_a_damaged_film_is_done_as_far_as_it_goes(video: Cli, tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", levels(40))
    damage(path, slice(15, 18))
    done = video(path, "--json")
    assert done.code == 1
    assert len(done.out.splitlines()) == 37
    (line,) = [line for line in done.err.splitlines() if "warning" in line]
    assert f"ferjax: warning: {path}: 3 damaged frames were skipped, the first at" in line


def test_the_film_itself_is_not_overwritten(video: Cli, film: Path, tmp_path: Path) -> None:
    path = tmp_path / "film.webm"
    path.write_bytes(film.read_bytes())
    for options in (["--draw", path], ["--csv", path], ["--plot", tmp_path / "a.png"]):
        done = video(path, *options, "--force")
        if options[0] != "--plot":
            assert f"{path}: is the film itself; give another name" in done.error
    assert path.read_bytes() == film.read_bytes()
    table = tmp_path / "user.csv"
    table.write_text("a,b\n1,2\n")
    assert "ferjax did not write it; --force replaces it" in video(film, "--csv", table).error
    assert video(film, "--csv", table, "--force", "--every", 10).code == 0
    for option, name in (("--plot", "a.png"), ("--plot", "a.svg"), ("--parquet", "a.parquet")):
        other = tmp_path / "others" / name
        assert video(film, option, other, "--every", 15).code == 0
        assert video(film, option, other, "--every", 15).code == 0  # its own is replaced
        other.write_bytes(b"a user's")
        assert "ferjax did not write it" in video(film, option, other).error


def test_a_full_disk_keeps_what_was_written(
    video: Cli, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "a.csv"
    opened = open

    class Full:
        """A file on a disk that takes 1,500 bytes."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> Any:
            return self.file.__enter__()

        def __exit__(self, *error: object) -> None:
            self.file.__exit__(*error)

        def write(self, data: Any) -> int:
            room = 1500 - self.file.tell()
            if room <= 0:
                raise OSError(28, "No space left on device")
            return int(self.file.write(data[:room]))

    def opening(path: Any, *arguments: Any, **options: Any) -> Any:
        file = opened(path, *arguments, **options)
        return Full(file) if str(path) == str(table) and "b" in arguments[0] else file

    monkeypatch.setattr("ferjax.video.growing.open", opening, raising=False)
    done = video(film, "--csv", table)
    assert done.code == 2
    assert f"ferjax: error: {table}: cannot be written (No space left on device)" in done.err
    rows = rows_of(table)
    assert len(rows) > 2
    assert None not in rows[-1].values()  # whole rows


def test_a_folder_that_is_not_writable_is_said_before_anything_is_lost(
    video: Cli, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, plot = tmp_path / "a.csv", tmp_path / "a.png"
    table.write_text(
        "time,frame,track,x,y,width,height,score,roll,size,too_small,label,confidence\n"
    )
    plot.touch()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and access(path, mode))
    for option, path in (("--csv", table), ("--plot", plot)):
        done = video(film, option, path)
        assert done.code == 2
        assert f"the folder {tmp_path} is not writable" in done.error
    assert table.read_text().startswith("time,frame")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.png"]


def test_names_that_are_long_and_names_that_are_no_text(
    video: Cli, film: Path, tmp_path: Path
) -> None:
    copy = tmp_path / os.fsdecode(b"\xff.mp4")
    try:
        copy.write_bytes(film.read_bytes())
    except OSError:
        pytest.skip("this file system takes names of UTF-8 alone")
    for name in (os.fsdecode(b"\xff"), 81 * "\u8868"):  # of 243 bytes
        paths = [tmp_path / f"{name}{end}" for end in (".csv", ".parquet", ".png", ".webm")]
        options = zip(("--csv", "--parquet", "--plot", "--draw"), paths, strict=True)
        assert video(copy, *(part for pair in options for part in pair), "--every", 15).code == 0
        assert all(path.stat().st_size for path in paths)
    assert not list(tmp_path.glob(".*"))


# --- interrupted ---------------------------------------------------------------------------------


def interrupted_at(count: int, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    """Let a run be interrupted after some frames, and save its state after each."""
    monkeypatch.setattr(running, "SNAPSHOTS", 0.0)
    write = running.Run._write
    done = 0

    def failing(self: Any, frame: Any, events: Any) -> None:
        nonlocal done
        write(self, frame, events)
        done += 1
        if done == count:
            raise error

    monkeypatch.setattr(running.Run, "_write", failing)


def test_an_interrupted_run_goes_on_to_the_same_files(
    video: Cli, film: Path, tmp_path: Path
) -> None:
    names = {"--csv": "a.csv", "--events": "e.csv", "--parquet": "a.parquet"}
    whole = {option: tmp_path / "whole" / name for option, name in names.items()}
    options = [part for pair in whole.items() for part in pair]
    assert video(film, *options, "--smooth", 0.1).code == 0
    expected = [path.read_bytes() for path in whole.values()]
    for count in (1, 13, 29):
        folder = tmp_path / str(count)
        paths = {option: folder / name for option, name in names.items()}
        options = [part for pair in paths.items() for part in pair]
        with pytest.MonkeyPatch.context() as patch:
            interrupted_at(count, patch, KeyboardInterrupt)
            done = video(film, *options, "--smooth", 0.1)
        assert done.code == 130
        at = f"{(count - 1) / 20:.2f} s"
        assert f"interrupted at {at}; --resume goes on with it after {at}, where" in done.err
        assert len(rows_of(paths["--csv"])) == count  # and the files are whole
        assert {row["track"] for row in rows_of(paths["--events"])} <= {"1"}
        assert "is of an unfinished run; --resume goes on with it" in video(film, *options).error
        other = video(film, *options, "--resume", "--smooth", 0.2)
        assert "the run was begun with --smooth 0.1, expected the same to go on" in other.error
        done = video(film, *options, "--smooth", 0.1, "--resume")
        assert done.code == 0
        assert f"ferjax: note: goes on after {at}, where the run was last saved" in done.err
        assert done.err.splitlines()[-1].startswith("30 frames: 30 faces of 1 track")
        assert [path.read_bytes() for path in paths.values()] == expected
        assert sorted(p.name for p in folder.iterdir()) == sorted(names.values())


def test_a_run_over_another_film_is_not_gone_on_with(
    video: Cli, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, copy = tmp_path / "a.csv", tmp_path / "copy.mp4"
    copy.write_bytes(film.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        interrupted_at(5, patch, KeyboardInterrupt)
        assert video(copy, "--csv", table).code == 130
    assert f"the run was begun with {copy}" in video(film, "--csv", table, "--resume").error
    size = table.stat().st_size
    table.write_bytes(table.read_bytes()[: size // 2])
    assert "expected the" in video(copy, "--csv", table, "--resume").err
    os.utime(copy, (1, 1))
    assert "was changed since the run was begun" in video(copy, "--csv", table, "--resume").error
    assert video(copy, "--csv", table, "--force").code == 0
    assert len(rows_of(table)) == 30
    done = video(copy, "--csv", table, "--resume")
    assert "note: begins anew: no run is unfinished" in done.err
    assert "--resume is for films in files" in video("77", "--csv", table, "--resume").error


def test_what_a_record_knows_of_is_on_the_disk_before_it(
    video: Cli, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, save = [], running.Checkpoint.save
    monkeypatch.setattr(running, "SNAPSHOTS", 0.0)
    monkeypatch.setattr(GrowingFile, "sync", lambda self: done.append(Path(self.path).suffix))

    def saved(self: Any, *known: Any) -> None:
        done.append("record")
        save(self, *known)

    monkeypatch.setattr(running.Checkpoint, "save", saved)
    options = ["--csv", tmp_path / "a.csv", "--draw", tmp_path / "a.webm", "--every", 15]
    assert video(film, *options).code == 0
    assert done == 2 * [".csv", ".webm", "record"]


def times_of(path: Path) -> list[float]:
    """Return the times of the frames of an annotated film."""
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def test_an_interruption_says_where_the_run_was_saved(
    video: Cli, film: Path, tmp_path: Path
) -> None:
    options = [film, "--csv", tmp_path / "a.csv"]
    with pytest.MonkeyPatch.context() as patch:
        interrupted_at(9, patch, KeyboardInterrupt)
        patch.setattr(running, "SNAPSHOTS", 1000.0)
        done = video(*options)
    assert "interrupted at 0.40 s; --resume goes on with it after 0.00 s" in done.err
    done = video(*options, "--resume")
    assert "goes on after 0.00 s, where the run was last saved; rows after that are" in done.err
    assert len(rows_of(tmp_path / "a.csv")) == 30


def test_an_annotated_film_goes_on(video: Cli, film: Path, tmp_path: Path) -> None:
    whole, drawing = tmp_path / "whole.webm", tmp_path / "a.webm"
    assert video(film, "--draw", whole).code == 0
    for options in ([], ["--csv", tmp_path / "a.csv"]):
        options = [*options, "--draw", drawing]
        with pytest.MonkeyPatch.context() as patch:
            interrupted_at(12, patch, KeyboardInterrupt)
            done = video(film, *options)
        assert done.code == 130
        assert done.err.splitlines()[-1] == (
            "interrupted at 0.55 s; --resume goes on with it after 0.55 s, where it was last saved"
        )
        assert times_of(drawing) == times_of(whole)[:12]
        other = video(film, *options, "--resume", "--anonymise").error
        assert "begun with --anonymise False" in other or "--detect-every" in other
        done = video(film, *options, "--resume")
        assert done.code == 0
        assert "note: goes on after 0.55 s" in done.err
        assert times_of(drawing) == times_of(whole)
        assert np.abs(frame_of(drawing, 25).astype(int) - frame_of(whole, 25)).mean() < 3
        assert not list(tmp_path.glob(".*"))
    assert len(rows_of(tmp_path / "a.csv")) == 30


def test_another_annotated_film_is_not_gone_on_with(video: Cli, film: Path, tmp_path: Path) -> None:
    drawing = tmp_path / "a.webm"
    with pytest.MonkeyPatch.context() as patch:
        interrupted_at(12, patch, KeyboardInterrupt)
        assert video(film, "--draw", drawing).code == 130
    content = drawing.read_bytes()
    for other in (content[:300], content[:256] + b"ferjax video" * 10_000):
        drawing.write_bytes(other)
        done = video(film, "--draw", drawing, "--resume")
        assert "is not the film that the run wrote; --force begins anew" in done.err
    drawing.unlink()
    assert "is gone, which the run wrote" in video(film, "--draw", drawing, "--resume").err
    record = tmp_path / ".a.webm.resume"
    record.write_text(record.read_text().replace('"size"', '"sides"'))
    assert "begins anew: no run is unfinished" in video(film, "--draw", drawing, "--resume").err


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="signals are missing")
def test_ctrl_c_leaves_the_same_frames_in_all_files(
    video: Cli, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, count = running.tables.CsvFile.add, 0

    def pressed(self: Any, rows: Any) -> None:
        nonlocal count
        add(self, rows)
        count += 1
        if count == 7:  # the film has six frames now
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(running.tables.CsvFile, "add", pressed)
    table, drawing = tmp_path / "a.csv", tmp_path / "a.webm"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job may ignore it
    try:
        assert video(film, "--csv", table, "--draw", drawing).code == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(rows_of(table)) == len(times_of(drawing)) == 7


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_rows(tmp_path: Path, model: Path) -> None:
    ground = texture(3)
    film = write_film(
        tmp_path / "long.mp4",
        (
            pasted(ground, [(90 + 60 * np.sin(i / 9), 60, head(100)), (10, 5 + i % 40, head(60))])
            for i in range(1500)
        ),
    )

    def start(table: Path, *options: str) -> subprocess.Popen[bytes]:
        drawing = ["--draw", table.with_suffix(".webm")]
        call = ["video", film, "--csv", table, *drawing, "--weights", model, *LABELS, *options]
        return subprocess.Popen(
            [sys.executable, "-m", "ferjax", *map(str, call)], stderr=subprocess.PIPE
        )

    whole, table = tmp_path / "whole.csv", tmp_path / "a.csv"
    assert start(whole).wait() == 0
    for tries in range(3):
        process = start(table, *(["--resume"] if tries else []))
        before = table.stat().st_size if table.exists() else 0
        while process.poll() is None and (
            not table.exists() or table.stat().st_size < before + whole.stat().st_size / 5
        ):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        content = table.read_bytes()
        assert whole.read_bytes().startswith(content)
        assert len(times_of(table.with_suffix(".webm"))) > 20  # what was written is whole
    assert start(table, "--resume").wait() == 0
    assert table.read_bytes() == whole.read_bytes()
    films = [times_of(path.with_suffix(".webm")) for path in (table, whole)]
    assert films[0] == films[1] == pytest.approx([i / 30 for i in range(1500)], abs=6e-4)


# --- cameras and windows -------------------------------------------------------------------------


@pytest.fixture
def opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Give other processes an OpenCV whose `namedWindow` is of these lines, and a display."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("DISPLAY", ":77")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    def write(body: str) -> None:
        (folder / "cv2.py").write_text(
            "import os\nclass error(Exception): ...\ndef destroyAllWindows(): ...\n"
            f"def namedWindow(name): {body}\n"
        )

    return write


def test_live_takes_a_window(
    video: Cli, film: Path, monkeypatch: pytest.MonkeyPatch, opencv: Callable[[str], None]
) -> None:
    def no_window(*arguments: Any) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", no_window)
    for lines in ("raise error('The function is not implemented')", "pass"):
        opencv(lines)
        assert "put opencv-python in its place" in video(film, "--live").error
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", "")
    assert "put opencv-python in its place" in video(film, "--live").error


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a display by its name")
@pytest.mark.parametrize("end", ["os.abort()", "os._exit(1)"], ids=["as Qt", "as GTK"])
def test_a_display_that_is_gone_is_one_line(
    video: Cli, film: Path, opencv: Callable[[str], None], end: str
) -> None:
    opencv(end)
    done = video(film, "--live")
    assert done.code == 2
    assert done.error.startswith("ferjax: error: --live: no window can be opened with DISPLAY=:77")


def test_live_shows_frames_until_it_is_closed(
    video: Cli, film: Path, monkeypatch: pytest.MonkeyPatch, opencv: Callable[[str], None]
) -> None:
    shown: list[np.ndarray] = []
    opencv("pass")
    for name, value in {
        "namedWindow": lambda *_: None,
        "imshow": lambda name, picture: shown.append(picture),
        "waitKey": lambda wait: ord("q") if len(shown) == 4 else -1,
        "getWindowProperty": lambda *_: 1.0,
        "destroyAllWindows": lambda: None,
    }.items():
        monkeypatch.setattr(cv2, name, value)
    done = video(film, "--live", "--latency", "low")
    assert done.code == 0
    assert len(shown) == 4
    assert shown[0].shape == (240, 320, 3)


def test_a_camera_that_is_unplugged_ends_the_run(
    video: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ..video.test_sources import Capture

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    table = tmp_path / "a.csv"
    done = video("0", "--csv", table)
    assert done.code == 1
    assert "ferjax: error: camera 0: gives no more pictures" in done.err
    assert rows_of(table) == []
    assert table.read_text().startswith("time,frame,track")


def test_an_error_of_writing_is_one_line(
    video: Cli, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Any, frame: Any) -> None:
        raise WriteError("a.webm: cannot be written (No space left on device)")

    monkeypatch.setattr("ferjax.video.webm.Webm._put", failing)
    table = tmp_path / "a.csv"
    done = video(film, "--draw", tmp_path / "a.webm", "--csv", table)
    assert done.code == 2
    assert "ferjax: error: a.webm: cannot be written (No space left on device)" in done.err
    assert len(rows_of(table)) == 1


def test_the_defaults_are_those_of_python(cli: Cli) -> None:
    from ferjax.cli.main import build_parser
    from ferjax.cli.video import _settings

    args = build_parser().parse_args(["video", "a.mp4"])
    assert _settings(args) == Settings()
    assert args.min_event == Outputs().min_event


@pytest.mark.parametrize("number", ["10000", "9" * 20, "9" * 5000])
def test_no_camera_has_such_a_number(video: Cli, number: str) -> None:
    assert video(number).code == 2


def test_a_time_without_frames_is_said(video: Cli, film: Path) -> None:
    done = video(film, "--start", 100)
    assert done.code == 1
    assert "film.mp4: has no frame from 100 s on; it is 1.50 s long" in done.err
    done = video(film, "--start", 50, "--end", 60)
    assert "has no frame from 50 s to 60 s; it is 1.50 s long" in done.err
    between = video(film, "--start", 0.51, "--end", 0.52).err  # two frames
    assert between.splitlines()[-1].endswith("film.mp4: has no frame from 0.51 s to 0.52 s")


def test_links_to_one_file(video: Cli, film: Path, tmp_path: Path) -> None:
    copy, linked = tmp_path / "copy.mp4", tmp_path / "linked.csv"
    copy.write_bytes(film.read_bytes())
    linked.hardlink_to(copy)
    assert "is the film itself" in video(copy, "--csv", linked, "--force").error
    assert copy.read_bytes() == film.read_bytes()
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.touch()
    second.hardlink_to(first)
    expected = "expected another file for each of --csv, --events"
    assert expected in video(film, "--csv", first, "--events", second).error


def test_a_run_that_fails_at_its_first_frame_leaves_nothing_hidden(
    video: Cli, film: Path, tmp_path: Path
) -> None:
    assert video(film, "--plot", tmp_path / "a.png", "--region", "5000,0,9,9").code == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_left_of_an_interrupted_run_may_be_damaged(
    video: Cli, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, record = tmp_path / "a.csv", tmp_path / ".a.csv.resume"
    with monkeypatch.context() as patch:
        interrupted_at(12, patch, KeyboardInterrupt)
        assert video(film, "--csv", table).code == 130
    rows, saved = table.read_bytes(), json.loads(record.read_text())
    for part, value in (("state", {}), ("events", {}), ("events", []), ("time", "x")):
        record.write_text(json.dumps({**saved, part: value}))
        assert "a.csv.resume: is damaged" in video(film, "--csv", table, "--resume").error
        assert table.read_bytes() == rows
    record.write_text(json.dumps(saved))
    table.write_text("a diary\n" * 10_000)
    assert "ferjax did not write it" in video(film, "--csv", table, "--resume").error
    assert table.read_text() == "a diary\n" * 10_000
    table.unlink()
    assert "is gone, which the run wrote" in video(film, "--csv", table, "--resume").err
    table.write_bytes(rows)
    assert video(film, "--csv", table, "--resume").code == 0


@pytest.mark.parametrize("record", ["{}", '{"format": 1}', '{"format": 1, "asked": 3}'])
def test_a_record_that_is_none_is_passed_over(
    video: Cli, film: Path, tmp_path: Path, record: str
) -> None:
    (tmp_path / ".a.csv.resume").write_text(record)
    done = video(film, "--csv", tmp_path / "a.csv", "--resume", "--every", 30)
    assert done.code == 0
    assert "begins anew: no run is unfinished" in done.err
