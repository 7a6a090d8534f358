"""What a process of the command line asks of the C library."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ferjax.cli import process


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Collect the calls of exec; each process can have huge pages."""
    calls: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: calls.append([path, *arguments]))
    monkeypatch.setattr(process, "wants_huge_pages", lambda env: True)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return calls


def test_training_begins_again_with_huge_pages(
    asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "-m", "ferjax", "train", "-h"])
    process.prepare(["train", "-h"])
    assert asked == [[sys.executable, sys.executable, "-X", "dev", "-m", "ferjax", "train", "-h"]]
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"


def test_other_settings_stay(asked: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    process.prepare(["train"])
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.check=1:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize("argv", [[], ["predict", "train"], ["--version"]])
def test_other_commands_do_not(argv: list[str], asked: list[list[str]]) -> None:
    process.prepare(argv)
    assert not asked


@pytest.mark.parametrize("value", ["0", "1", "2"])
def test_a_setting_of_the_user_stays(value: str) -> None:
    assert not process.wants_huge_pages({"GLIBC_TUNABLES": f"glibc.malloc.hugetlb={value}"})


@pytest.mark.skipif(
    not process.wants_huge_pages({}), reason="needs glibc 2.35 and huge pages on request"
)
def test_the_process_has_them() -> None:
    code = (
        "import os, sys; from ferjax.cli import process\n"
        "process.prepare(['train'])\n"
        "print(os.getpid(), sys.argv[1:], os.environ['GLIBC_TUNABLES'])"
    )
    env = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    with subprocess.Popen(
        [sys.executable, "-c", code, "a b", "*"], stdout=subprocess.PIPE, text=True, env=env
    ) as started:
        printed, _ = started.communicate()
    assert printed == f"{started.pid} ['a b', '*'] glibc.malloc.hugetlb=1\n"
