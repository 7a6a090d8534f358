"""A window with annotated frames, where OpenCV has one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Final

from ferjax.errors import FerjaxError, printable
from ferjax.image_files import quiet_opencv
from ferjax.video.painting import Painter
from ferjax.video.seen import VideoFrame

_NAME: Final = "ferjax video (q closes it)"
_CLOSE: Final = (ord("q"), 27)  # 27 is Escape
_NEEDS: Final = (
    "--live takes a display, and a window, which opencv-python-headless has not: put opencv-python "
    "in its place, or write --draw FILE.webm"
)
_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")
_PATIENCE: Final = 20.0  # seconds for a window to open
# Opens a window, by the same OpenCV.
_TRIAL: Final = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
sys.path[:] = sys.argv[1:]
import cv2
try:
    cv2.namedWindow("ferjax")
    cv2.destroyAllWindows()
except (cv2.error, AttributeError):
    sys.exit(3)
"""


class Window:
    """Shows frame after frame."""

    def __init__(self, *, anonymise: bool = False) -> None:
        """Open the window.

        Raises:
            FerjaxError: this OpenCV has no windows, or there is no display.
        """
        self._painter = Painter(anonymise=anonymise)
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")  # of fonts that it has not
        if sys.platform.startswith("linux"):
            _check_display()
        with quiet_opencv() as cv2:
            self._cv2: Any = cv2
            try:
                cv2.namedWindow(_NAME, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            except (cv2.error, AttributeError):
                raise FerjaxError(_NEEDS) from None

    def show(self, frame: VideoFrame) -> bool:
        """Show a frame, which has its picture; False: the window was closed."""
        picture = self._painter.painted(frame)
        self._cv2.imshow(_NAME, picture[..., ::-1])
        if self._cv2.waitKey(1) & 0xFF in _CLOSE:
            return False
        return bool(self._cv2.getWindowProperty(_NAME, self._cv2.WND_PROP_VISIBLE) >= 1)

    def close(self) -> None:
        """Close the window."""
        self._cv2.destroyAllWindows()


def _check_display() -> None:
    """Raise a FerjaxError where no window can be opened.

    Qt and GTK, which draw OpenCV's windows, end the process where they reach no display, so that
    another process tries first.
    """
    named = [f"{name}={os.environ[name]}" for name in _DISPLAYS if os.environ.get(name)]
    if not named:
        raise FerjaxError(_NEEDS)
    try:
        code = subprocess.run(
            [sys.executable, "-c", _TRIAL, *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
        ).returncode
    except (OSError, subprocess.SubprocessError):
        code = -1
    if code == 3:
        raise FerjaxError(_NEEDS)
    if code:
        raise FerjaxError(
            f"--live: no window can be opened with {printable(' '.join(named), 200)}: is it the "
            "display that you sit at, and may you use it? --draw FILE.webm needs none"
        )
