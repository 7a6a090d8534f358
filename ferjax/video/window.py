"""A window with annotated frames, where OpenCV has one."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from ferjax.errors import FerjaxError
from ferjax.image_files import quiet_opencv
from ferjax.video.painting import Painter
from ferjax.video.seen import VideoFrame

_NAME: Final = "ferjax video (q closes it)"
_CLOSE: Final = (ord("q"), 27)  # 27 is Escape
_NEEDS: Final = (
    "--live takes a display, and a window, which opencv-python-headless has not: put opencv-python "
    "in its place, or write --draw FILE.webm"
)


class Window:
    """Shows frame after frame."""

    def __init__(self, *, anonymise: bool = False) -> None:
        """Open the window.

        Raises:
            FerjaxError: this OpenCV has no windows, or there is no display.
        """
        self._painter = Painter(anonymise=anonymise)
        displays = ("DISPLAY", "WAYLAND_DISPLAY")
        if sys.platform.startswith("linux") and not any(map(os.environ.get, displays)):
            raise FerjaxError(_NEEDS)  # Qt, which draws OpenCV's windows, would end the program
        os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")  # of fonts that it has not
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
