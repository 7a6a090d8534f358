"""Progress on stderr: from two seconds on, and not where nothing is left to wait for."""

from __future__ import annotations

import pytest

from ferjax.cli import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_it_is_said_after_two_seconds(clock: list[float], capsys: pytest.CaptureFixture) -> None:
    with progress.reported() as advance:
        advance(0, 40, "images")
        clock[0] += 1.9
        advance(10, 40, "images")
        assert capsys.readouterr().err == ""
        clock[0] += 0.1
        advance(20, 40, "images")
        assert capsys.readouterr().err == "20 of 40 images, 10 a second, 2 s left\n"
        clock[0] += 9.9
        advance(30, 40, "images")
        assert capsys.readouterr().err == ""
        clock[0] += 0.1
        advance(36, 40, "images")
        assert capsys.readouterr().err == "36 of 40 images, 3 a second, 1 s left\n"


def test_what_is_done_is_not_said(clock: list[float], capsys: pytest.CaptureFixture) -> None:
    with progress.reported() as advance:
        clock[0] += 5
        advance(1, 1, "images")
    assert capsys.readouterr().err == ""


def test_slow_work_has_a_speed_too(clock: list[float], capsys: pytest.CaptureFixture) -> None:
    with progress.reported() as advance:
        advance(0, 9, "photographs")
        clock[0] += 4
        advance(1, 9, "photographs")
    assert capsys.readouterr().err == "1 of 9 photographs, 0.2 a second, 32 s left\n"


def test_a_line_on_a_terminal_makes_room(
    clock: list[float], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = progress.Progress(9, "photographs")
    shown.clear()
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    clock[0] += 4
    shown.advance(8)
    assert capsys.readouterr().err.startswith("\r8 of 9 photographs")
    shown.clear()
    shown.clear()
    assert capsys.readouterr().err == f"\r{'':<70}\r"


def test_loading_and_compiling_do_not_count(
    clock: list[float], capsys: pytest.CaptureFixture
) -> None:
    shown = progress.Progress(101, "photographs")
    clock[0] += 5
    shown.begin(1)
    clock[0] += 1
    shown.advance(9)
    assert capsys.readouterr().err == ""
    clock[0] += 1
    shown.advance(11)
    assert capsys.readouterr().err == "21 of 101 photographs, 10 a second, 8 s left\n"
