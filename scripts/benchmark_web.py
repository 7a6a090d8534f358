"""Measure the page of `ferjax web` in headless Chromium on this machine.

Each run is a browser of its own, without anything in its cache, and the page comes from a server on
this machine, with all headers. Given are medians:
  ready    from the call of the address until photographs can be chosen
  first    until the sample photograph's expression is shown, which is chosen at once
  again    from the choice of a photograph to its expression, once one was looked at
  camera   frames/s of a camera of 640x480 pixels with one face, which a film stands in for

It takes Playwright (`pip install playwright`) and Chromium on the PATH.

examples:
  python scripts/benchmark_web.py
  python scripts/benchmark_web.py --runs 5 --seconds 20 --out web.json

Exit codes: 0 done, 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ferjax
from ferjax import released, web
from ferjax.errors import FerjaxError
from ferjax.web import serving

ROOT: Final = Path(__file__).parents[1]
PHOTOGRAPH: Final = ROOT / "examples" / "astronaut.jpg"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
FACE: Final = "#faces h3"
TIMEOUT: Final = 120_000  # milliseconds


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benchmark_web",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--weights", metavar="FILE", help="(default: those that ferjax brings)")
    add("--runtime", metavar="PATH", help="ONNX Runtime Web, as for `ferjax web`")
    add("--runs", type=int, default=3, metavar="N", help="browsers (default: 3)")
    add("--seconds", type=float, default=10.0, metavar="S", help="of the camera (default: 10)")
    add("--out", type=Path, metavar="FILE.json", help="the measurements too")
    args = parser.parse_args()
    if args.runs < 1 or not args.seconds > 0:
        parser.error("expected at least one run, and seconds above 0")
    try:
        results = measure(args.weights, args.runtime, args.runs, args.seconds)
    except FerjaxError as error:
        print(f"benchmark_web: error: {error}", file=sys.stderr)
        return 2
    print(as_text(results))
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(weights: str | None, runtime: str | None, runs: int, seconds: float) -> dict[str, Any]:
    """Return the measurements of so many runs, and what they were made on.

    Raises:
        FerjaxError: Playwright, Chromium or ONNX Runtime Web is missing, or the weights cannot be
            used.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise FerjaxError("it needs Playwright: pip install playwright") from None
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FerjaxError(f"expected one of {', '.join(BROWSERS)} on the PATH, got none")
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), weights, runtime) as address:
        film = Path(folder) / "camera.mjpeg"
        film.write_bytes(camera_film())
        with sync_playwright() as playwright:
            measured = [
                one_run(playwright.chromium, browser, address, film, seconds) for _ in range(runs)
            ]
    return {
        "ferjax": ferjax.__version__,
        "weights": str(weights or released.DEFAULT),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "seconds": seconds,
        "runs": measured,
    }


@contextmanager
def served(folder: Path, weights: str | None, runtime: str | None) -> Iterator[str]:
    """Write the page and yield its address while it is served."""
    web.write(ferjax.load(weights), folder / "page", runtime=runtime)
    with serving.open_server(folder / "page", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{serving.HOST}:{server.server_address[1]}/"
        server.shutdown()


def camera_film() -> bytes:
    """Return two seconds of frames of 640x480 pixels in which a face moves, as MJPEG."""
    import cv2
    import numpy as np

    photograph = cv2.imread(str(PHOTOGRAPH))
    assert photograph is not None
    face = cv2.resize(photograph, (440, 440), interpolation=cv2.INTER_AREA)
    frames = []
    for number in range(60):
        frame = np.full((480, 640, 3), (120, 110, 100), np.uint8)
        left = round(100 + 40 * np.sin(number / 60 * 2 * np.pi))
        frame[20:460, left : left + 440] = face
        frames.append(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    return b"".join(frames)


def one_run(
    chromium: Any, executable: str, address: str, film: Path, seconds: float
) -> dict[str, Any]:
    """Return what one browser takes."""
    flags = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")
    browser = chromium.launch(executable_path=executable, args=flags)
    try:
        context = browser.new_context(permissions=["camera"])
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        begin = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached")
        ready = time.perf_counter() - begin
        page.click("#try-sample")
        page.wait_for_selector(FACE)
        first = time.perf_counter() - begin
        page.click("#clear-photographs")
        begin = time.perf_counter()
        page.click("#try-sample")
        page.wait_for_selector(FACE)
        again = time.perf_counter() - begin
        return {
            "browser": browser.version,
            "threads": bool(page.evaluate("crossOriginIsolated")),
            "ready": ready,
            "first": first,
            "again": again,
            "camera": frames_a_second(page, seconds),
        }
    finally:
        browser.close()


def frames_a_second(page: Any, seconds: float) -> float:
    """Return how many frames of the camera the page looks at in a second, once it is warm."""
    page.click("[data-mode=camera]")
    page.click("#start-camera")
    page.wait_for_selector(FACE)
    page.wait_for_timeout(2000)
    count = "Number(document.querySelector('#camera-status').dataset.frames)"
    before, begin = page.evaluate(count), time.perf_counter()
    page.wait_for_timeout(1000 * seconds)
    return float((page.evaluate(count) - before) / (time.perf_counter() - begin))


def as_text(results: dict[str, Any]) -> str:
    """Return the medians in lines."""
    runs = results["runs"]

    def middle(name: str) -> float:
        return statistics.median(run[name] for run in runs)

    threads = "several threads" if runs[0]["threads"] else "one thread"
    return "\n".join(
        [
            f"{results['weights']}, Chromium {runs[0]['browser']}, {results['cores']} cores, "
            f"{threads}, {len(runs)} runs",
            f"ready   {middle('ready'):6.2f} s",
            f"first   {middle('first'):6.2f} s",
            f"again   {middle('again'):6.2f} s",
            f"camera  {middle('camera'):6.1f} frames/s",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
