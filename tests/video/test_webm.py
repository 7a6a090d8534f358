"""Annotated films as files: whole at any time, gone on with, on a full disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest

from ferjax.errors import WriteError
from ferjax.video.growing import GrowingFile
from ferjax.video.matroska import WebmFile, element
from ferjax.video.webm import Webm

from .test_browser import TIMES, frame


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(shown.time) for shown in container.decode(video=0)]


def written(path: Path, count: int = 20) -> Webm:
    webm = Webm(str(path))
    for number in range(count):
        webm.add(frame(number, TIMES[number]))
    return webm


def test_elements_by_hand() -> None:
    assert element(0xEC, bytes(3)) == b"\xec\x83\0\0\0"
    assert element(0xA3, bytes(126)) == b"\xa3\xfe" + bytes(126)
    assert element(0xA3, bytes(127)) == b"\xa3\x40\x7f" + bytes(127)  # 0xff is an unknown size
    assert element(0x1F43B675, b"a", size=8) == b"\x1f\x43\xb6\x75\x01\0\0\0\0\0\0\x01a"


def test_a_film_is_whole_after_each_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    webm = written(path)
    assert times_of(path) == pytest.approx(TIMES[:20])  # as after kill -9
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    assert len(times_of(path)) >= 19
    path.write_bytes(content)
    webm.close()
    webm.close()
    assert times_of(path) == pytest.approx(TIMES[:20])
    with av.open(str(path)) as container:
        assert container.duration == 1_000_000
        (stream,) = container.streams.video
        assert (stream.codec_context.name, stream.width, stream.height) == ("vp9", 162, 122)


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_film_goes_on(tmp_path: Path, is_closed: bool) -> None:
    path = tmp_path / "a.webm"
    webm = written(path, 12)
    state = webm.state()
    for number in range(12, 17):
        webm.add(frame(number, TIMES[number]))
    if is_closed:
        webm.close()
    elif webm._file is not None:
        webm._file.abandon()  # as a process that is killed leaves it
    again = Webm(str(path), state=state)
    for number in range(12, 25):
        again.add(frame(number, TIMES[number]))
    again.close()
    assert times_of(path) == pytest.approx(TIMES)
    with av.open(str(path)) as container:
        assert container.duration == 2_100_000
        container.seek(1_000_000)  # by the index: the new piece begins with a whole picture
        first = next(container.decode(video=0))
        assert first.time == pytest.approx(TIMES[12])
    unchanged = path.read_bytes()
    end = unchanged.rindex(b"\x1c\x53\xbb\x6b")  # where the index begins
    Webm(str(path), state={**state, "offset": end}).close()
    assert path.read_bytes() == unchanged


def test_a_full_disk_leaves_a_whole_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.webm"
    webm = written(path, 5)
    put = GrowingFile.put

    def full(self: Any, data: bytes) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.truncate(self.offset)
        raise WriteError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(GrowingFile, "put", full)
    with pytest.raises(WriteError, match="No space left on device"):
        webm.add(frame(5, TIMES[5]))
    webm.close()  # what is done has been written
    assert times_of(path) == pytest.approx(TIMES[:5])
    with av.open(str(path)) as container:
        assert container.duration == 250_000
    monkeypatch.setattr(GrowingFile, "put", put)
    other = written(tmp_path / "b.webm", 5)
    monkeypatch.setattr(GrowingFile, "put", full)
    with pytest.raises(WriteError, match="No space left on device"):
        other.close()  # there is no room for the index
    assert times_of(tmp_path / "b.webm") == pytest.approx(TIMES[:5])


def test_a_film_without_frames_and_one_of_another(tmp_path: Path) -> None:
    Webm(str(tmp_path / "none.webm")).close()
    assert not (tmp_path / "none.webm").exists()
    path = tmp_path / "a.webm"
    path.write_bytes(bytes(5000))
    with pytest.raises(WriteError, match="is not the film that the run wrote; --force begins"):
        WebmFile(str(path), (162, 122), offset=5000)
    with pytest.raises(WriteError, match="cannot be written"):
        written(tmp_path / "none" / "a.webm")
