"""Streams on this machine, and cameras that tests make: silent, absent, busy, unplugged."""

from __future__ import annotations

import http.server
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ferjax.errors import VideoError
from ferjax.video.films import Film, is_live, scheme_of
from ferjax.video.pictures import Choice
from ferjax.video.sources import latency_of, opened

from .films import levels, write_film

# --- streams -------------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server on this machine that takes calls and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        calls: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    calls.append(server.accept()[0])
            except OSError:
                pass

        threading.Thread(target=take, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        for call in calls:
            call.close()


def test_a_stream_that_says_nothing_is_given_up(silent: str) -> None:
    with pytest.raises(VideoError, match=r"gave nothing for 0\.3 s; is it on\?"):
        Film(f"http://{silent}/film.mp4", timeout=0.3)


def test_a_stream_that_is_absent() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/film.mp4"
        with pytest.raises(VideoError, match=r"film\.mp4: cannot be opened \(.+\)"):
            Film(address, timeout=2)


class Server(http.server.BaseHTTPRequestHandler):
    """Gives the first half of a film, and then nothing more, or closes."""

    content = b""
    stalls = False
    done = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        half = len(self.content) if not self.stalls else len(self.content) // 2
        self.wfile.write(self.content[:half])
        self.wfile.flush()
        if self.stalls:
            self.done.wait(10)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("stalls", [False, True])
def test_a_stream_over_http(tmp_path: Path, stalls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_film(tmp_path / "a.mkv", levels(60), rate=25, codec="mpeg4")
    monkeypatch.setattr(Server, "content", path.read_bytes())
    monkeypatch.setattr(Server, "stalls", stalls)
    monkeypatch.setattr(Server, "done", threading.Event())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        timeout = 0.4 if stalls else 10.0
        film = Film(f"http://127.0.0.1:{server.server_port}/a.mkv", timeout=timeout)
        frames = []
        try:
            for frame in Choice().frames(film):
                frames.append(frame)
        except VideoError as error:
            assert stalls
            assert str(error).endswith(
                "gave nothing for 0.4 s, and is given up; a longer timeout waits longer"
            )
        else:
            assert not stalls
        finally:
            film.close()
            Server.done.set()
            server.shutdown()
    assert len(frames) == 60 if not stalls else 10 < len(frames) < 50
    assert frames[5].time == pytest.approx(0.2, abs=1e-3)


class Rtsp(socketserver.StreamRequestHandler):
    """Gives a film, in H.264, by RTSP over TCP, as cameras do; of one that stalls the half."""

    units: Sequence[bytes] = ()
    stalls = False
    done = threading.Event()

    def handle(self) -> None:
        while request := list(iter(lambda: self.rfile.readline().strip(), b"")):
            method = request[0].split()[0].decode()
            fields = dict(line.decode().split(": ", 1) for line in request[1:])
            body = ""
            lines = ["RTSP/1.0 200 OK", f"CSeq: {fields['CSeq']}", "Session: 1"]
            if method == "SETUP":
                assert fields["Transport"] == "RTP/AVP/TCP;unicast;interleaved=0-1"
                lines.append(f"Transport: {fields['Transport']}")
            if method == "DESCRIBE":
                body = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=film\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
                    "a=control:track1\r\n"
                )
                lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            self.wfile.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            if method == "PLAY":
                self.play()
                return

    def play(self) -> None:
        pictures, end = 0, len(self.units) // 2 if self.stalls else len(self.units)
        for number, unit in enumerate(self.units[:end]):
            ends_picture = unit[0] & 31 in (1, 5)
            head = 0x80, 96 | (0x80 if ends_picture else 0), number, 3600 * pictures, 1
            packet = struct.pack(">BBHII", *head) + unit
            self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)
            pictures += ends_picture
        if self.stalls:
            self.done.wait(10)


@pytest.mark.parametrize("stalls", [False, True])
def test_a_stream_by_rtsp_over_tcp(
    tmp_path: Path, stalls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_film(tmp_path / "a.h264", levels(60), rate=25).read_bytes()
    units = [unit for unit in re.split(b"\0\0\0?\1", content) if unit]
    monkeypatch.setattr(Rtsp, "units", units)
    monkeypatch.setattr(Rtsp, "stalls", stalls)
    monkeypatch.setattr(Rtsp, "done", threading.Event())
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Rtsp) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        timeout = 0.6 if stalls else 10.0
        film = Film(f"rtsp://127.0.0.1:{server.server_address[1]}/film", timeout=timeout)
        assert film.is_live
        frames = []
        try:
            for frame in Choice().frames(film):
                frames.append(frame)
        except VideoError as error:
            assert stalls
            assert "gave nothing for 0.6 s, and is given up" in str(error)
        else:
            assert not stalls
        finally:
            film.close()
            Rtsp.done.set()
            server.shutdown()
    assert len(frames) >= 58 if not stalls else 10 < len(frames) < 50
    assert [frame.time for frame in frames[:3]] == pytest.approx([0, 0.04, 0.08], abs=1e-3)


class Motion(http.server.BaseHTTPRequestHandler):
    """Gives pictures as cameras do, one after the other, without times."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        for picture in levels(12):
            content = cv2.imencode(".jpg", picture)[1].tobytes()
            self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n")
            self.wfile.write(b"Content-Length: %d\r\n\r\n%s\r\n" % (len(content), content))
            time.sleep(0.08)

    def log_message(self, *arguments: object) -> None:
        pass


def test_pictures_without_times_have_those_at_which_they_came() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Motion) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        film = Film(f"http://127.0.0.1:{server.server_port}/camera", timeout=5)
        assert (film.is_live, film.duration) == (True, None)
        times = []
        with pytest.raises(VideoError, match="breaks off"):
            times.extend(picture.time for picture in film)
        film.close()
        server.shutdown()
    assert len(times) >= 11
    assert times[0] == 0
    assert times[-1] > 0.6  # by its number the last would be at 0.44 s


def test_a_stream_is_asked_for_by_udp_where_it_is_refused_by_tcp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def refusing(address: str, *, options: dict[str, str], timeout: float) -> None:
        asked.append(options["rtsp_transport"])
        raise av.error.InvalidDataError(1, f"no {asked[-1]}")

    monkeypatch.setattr(av, "open", refusing)
    with pytest.raises(VideoError, match=r"rtsp://camera/1: cannot be opened \(no tcp\)"):
        Film("rtsp://camera/1")
    assert asked == ["tcp", "udp"]


def test_addresses() -> None:
    assert [scheme_of(a) for a in ("RTSP://x", "x", "C:\\x", "://x")] == ["rtsp", "", "", ""]
    assert is_live("rtsp://camera/1")
    assert not is_live("https://example.org/film.mp4")
    assert latency_of(0, None) == latency_of("udp://@:1", None) == latency_of("x", "low") == "low"
    assert latency_of("https://x/a.mp4", None) == latency_of([], None) == "throughput"
    with pytest.raises(
        ValueError, match="expected 'low' or 'throughput' for `latency`, got 'fast'"
    ):
        latency_of(0, "fast")


# --- cameras -------------------------------------------------------------------------------------


class Capture:
    """A camera of OpenCV's that gives a few pictures."""

    is_there = True
    pictures = 5

    def __init__(self, number: int) -> None:
        self.left = self.pictures

    def isOpened(self) -> bool:
        return self.is_there

    def get(self, what: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (
            (True, np.full((8, 8, 3), (255, 0, 0), np.uint8)) if self.left >= 0 else (False, None)
        )

    def release(self) -> None:
        self.left = 0


def test_a_camera_that_is_unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr("ferjax.video.cameras.time.sleep", lambda seconds: None)
    camera = opened(0)
    assert (camera.name, camera.rate, camera.is_live) == ("camera 0", 30, True)
    pictures = []
    with pytest.raises(VideoError, match=r"camera 0: gives no more pictures; was it unplugged"):
        pictures.extend(camera)  # type: ignore[arg-type]
    frames = []
    with pytest.raises(VideoError, match="unplugged"):
        for frame in Choice().frames(opened(0)):
            frames.append(frame)
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].time == 0
    assert frames[0].image[0, 0].tolist() == [0, 0, 255]  # OpenCV's are BGR


def test_a_camera_that_is_absent_or_busy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(Capture, "is_there", False)
    monkeypatch.setattr("ferjax.video.cameras.sys.platform", "linux")
    with pytest.raises(
        VideoError, match="camera 77: there is none: the system has no /dev/video77"
    ):
        opened(77)
    monkeypatch.setattr("ferjax.video.cameras.os.path.exists", lambda path: True)
    monkeypatch.setattr("ferjax.video.cameras.os.access", lambda path, mode: False)
    with pytest.raises(VideoError, match="/dev/video7 is not yours to read"):
        opened(7)
    monkeypatch.setattr("ferjax.video.cameras.sys.platform", "darwin")
    with pytest.raises(VideoError, match="another program uses it, or the system does not let"):
        opened(0)
    with pytest.raises(VideoError, match="the number of a camera, from 0 to 9999, got -1"):
        opened(-1)


@pytest.mark.parametrize("number", [-1, 10_000, 10**20])
def test_no_camera_has_such_a_number(number: int) -> None:
    with pytest.raises(VideoError, match=f"the number of a camera, from 0 to 9999, got {number}"):
        opened(number)
