"""The command line as a whole: exit codes, one line for a mistake, never a traceback."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import ferjax
from ferjax import conversion
from ferjax.cli import main, process

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[2]
FERJAX = [sys.executable, "-m", "ferjax.cli.main"]
WEIGHTS = ROOT / "checkpoints" / "fer_cnn5.h5"


def test_the_command_is_installed() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    assert scripts == {"ferjax": "ferjax.cli.main:console"}
    (found,) = entry_points(group="console_scripts", name="ferjax")
    assert callable(found.load())


def test_a_command_ends_without_a_last_search_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "prepare", lambda argv: None)
    monkeypatch.setattr(main, "main", lambda: 3)
    gc.unfreeze()
    try:
        assert main.console() == 3
        assert not gc.get_objects(2) and gc.get_freeze_count() > 10_000
    finally:
        gc.freeze()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "ferjax: error: the following arguments are required: COMMAND (see ferjax --help)"),
        (["predicct"], "invalid choice: 'predicct'"),
        (["--nope"], "COMMAND"),
        (["predict"], "ferjax predict: error: the following arguments are required: IMAGE_OR_FOLD"),
        (["predict", "a.png", "--top", "0"], "--top: expected a positive integer, got '0'"),
        (["predict", "a.png", "--top", "x"], "--top: expected a positive integer, got 'x'"),
        (["predict", "a.png", "--labels", "a,,b"], "--labels: expected names separated by commas"),
        (["predict", "a.png", "--labels"], "--labels: expected one argument"),
        (
            ["predict", "a.png", "--nope"],
            "ferjax predict: error: unrecognized arguments: --nope (see",
        ),
        (["data", "info", "a", "b"], "ferjax data info: error: unrecognized arguments: b (see"),
        (["predict", "a.png", "--config", "c", "--architecture", "a"], "not allowed with"),
        (["predict", "a.png", "--value-range", "0"], "--value-range: expected 2 arguments"),
        (["predict", "a.png", "--value-range", "0", "x"], "invalid float value: 'x'"),
        (["convert", "a.h5"], "the following arguments are required: DST"),
        (["convert", "a.h5", "b.h5", "--to", "onnx"], "invalid choice: 'onnx'"),
        (["inspect"], "the following arguments are required: FILE"),
        (["verify", "a.h5"], "the following arguments are required: B"),
        (["verify", "a.h5", "b.h5", "--tolerance", "x"], "expected a number from 0 to 1, got 'x'"),
    ],
)
def test_a_wrong_call_gives_one_line_and_exit_code_2(
    cli: Cli, arguments: list[str], message: str
) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert message in done.error
    assert done.error.endswith("--help)")


COMMANDS = [
    "predict",
    "faces",
    "video",
    "web",
    "serve",
    "convert",
    "export",
    "inspect",
    "verify",
    "train",
    "evaluate",
    "calibrate",
    "card",
    "push",
]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_goes_to_stdout_and_gives_an_example(cli: Cli, command: list[str]) -> None:
    done = cli(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"usage: {' '.join(['ferjax', *command])} " in done.out
    for name in COMMANDS:
        assert name in done.out or command
    assert "example:" in done.out or "examples:" in done.out or not command


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ferjax", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"ferjax {ferjax.__version__}\n")


def test_commands_work_where_python_strips_docstrings() -> None:
    """As `python -OO` does: help texts come from docstrings."""
    script = (
        "from ferjax.cli.main import build_parser, main\n"
        "print(build_parser().format_help())\n"
        "raise SystemExit(main(['predict', 'examples/astronaut.png']))"
    )
    done = subprocess.run(
        [sys.executable, "-OO", "-c", script], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"predict +Predict the emotion on faces in image files", done.stdout)
    assert done.stdout.endswith("examples/astronaut.png  happy 0.990\n")


def test_a_platform_that_is_not_there_is_one_line() -> None:
    done = subprocess.run(
        [*FERJAX, "predict", "examples/astronaut.png"],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "nonsense"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    expected = "ferjax: error: JAX cannot use the platform that JAX_PLATFORMS names, 'nonsense' ("
    assert done.stderr.startswith(expected) and done.stderr.count("\n") == 1


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"ferjax {ferjax.__version__}\n"


def test_the_kinds_of_the_help_are_those_that_are_written(cli: Cli) -> None:
    (kinds,) = set(re.findall(r"--to \{([^}]+)\}", cli("convert", "--help").out))
    assert re.split(r",\s*", kinds) == list(conversion.TARGETS)


def test_an_interrupt_ends_a_command_with_130(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "convert", interrupted)
    done = cli("convert", model, tmp_path / "m.h5")
    assert (done.code, done.out) == (130, "")
    assert "Traceback" not in done.err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_in_the_middle_leaves_130_and_no_traceback() -> None:
    # A command that has begun and takes long; background jobs of a shell ignore SIGINT at first.
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys, time, ferjax.cli.main as cli, ferjax.conversion as conversion\n"
        "def convert(*_, **__): print('begun', flush=True); time.sleep(60)\n"
        "conversion.convert = convert\n"
        "sys.exit(cli.main(['convert', 'a.h5', 'b.h5']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.skipif(os.name == "nt", reason="Windows raises SIGINT otherwise")
@pytest.mark.parametrize("becomes", ["pass", "raise RuntimeError('of a class')", "raise error"])
@pytest.mark.parametrize("error", ["ImportError('of a module')", "FerjaxError('of mine')"])
def test_ctrl_c_that_an_import_drops_leaves_130_and_says_nothing(becomes: str, error: str) -> None:
    script = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import ferjax.cli.main as cli, ferjax.conversion as conversion
from ferjax import FerjaxError
def convert(*_, **__):
    error = {error}
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        {becomes}
conversion.convert = convert
sys.argv = ["ferjax", "convert", "a.h5", "b.h5"]
sys.exit(cli.console())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_an_ignored_interrupt_stays_ignored() -> None:
    script = """
import signal
from ferjax.cli import process
signal.signal(signal.SIGINT, signal.SIG_IGN)
process.note_interrupts()
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
signal.raise_signal(signal.SIGINT)
assert not process.was_interrupted()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipes")
def test_a_reader_that_has_had_enough_is_no_error() -> None:
    with subprocess.Popen(
        [*FERJAX, "inspect", WEIGHTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # as `head -1` does, at the latest when it has its line
        err = process.stderr.read()
    assert process.returncode == 1
    assert err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*FERJAX, "inspect", WEIGHTS], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "ferjax: error: [Errno 28] No space left on device\n"


@pytest.mark.skipif(os.name != "posix", reason="needs sh")
def test_a_closed_stdout_is_no_mistake() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *FERJAX, "inspect", WEIGHTS],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_stdout_that_cannot_write_a_name_escapes_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [*FERJAX, "convert", WEIGHTS, tmp_path / "größe.keras"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gr\\xf6\\xdfe.keras (keras): 2,631,815 parameters" in done.stdout


def test_a_mistake_in_a_process_of_its_own_gives_no_traceback() -> None:
    done = subprocess.run(
        [*FERJAX, "predict", "nowhere.png", "--weights", "nowhere.h5"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ferjax: error: nowhere.h5: no such file\n"
