"""Cameras, through OpenCV."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from ferjax.errors import VideoError
from ferjax.image_files import quiet_opencv
from ferjax.video.pictures import Picture, Problems

_LAST: Final = 9_999  # more cameras no system has; OpenCV takes higher numbers for something else
_FAILURES: Final = 10  # pictures in a row that a camera does not give, before it counts as gone


class Camera:
    """A camera by its number, from 0.

    Attributes:
        name: what errors call it.
        rate: frames a second, as the camera says; None where it says nothing sensible.
        duration: None, for it goes on.
        is_live: True.
        problems: what was wrong so far.
    """

    duration: float | None = None
    is_live = True

    def __init__(self, number: int) -> None:
        """Open a camera.

        Raises:
            VideoError: it is absent, or another program has it.
        """
        self.name = f"camera {number}"
        self.problems = Problems()
        if not 0 <= number <= _LAST:
            raise VideoError(f"expected the number of a camera, from 0 to {_LAST}, got {number}")
        with quiet_opencv() as cv2:
            self._capture: Any = cv2.VideoCapture(number)
            if not self._capture.isOpened():
                self._capture.release()
                raise VideoError(f"{self.name}: {_why_not(number)}")
            rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 1 <= rate <= 1000 else None

    def __iter__(self) -> Iterator[Picture]:
        """Yield pictures; their times are those at which they came, from the first on.

        Raises:
            VideoError: it gives no more.
        """
        begin: float | None = None
        number = failed = 0
        while True:
            with quiet_opencv() as cv2:
                is_read, picture = self._capture.read()
            now = time.monotonic()
            if not is_read or picture is None:
                failed += 1
                if failed >= _FAILURES:
                    raise VideoError(
                        f"{self.name}: gives no more pictures; was it unplugged, or taken by "
                        "another program?"
                    )
                time.sleep(0.05)
                continue
            failed = 0
            begin = now if begin is None else begin
            image = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
            yield Picture(number=number, time=now - begin, content=image)
            number += 1

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()


def _why_not(number: int) -> str:
    """Return why a camera cannot be opened, as far as the system says it."""
    device = f"/dev/video{number}"
    if sys.platform.startswith("linux"):
        if not os.path.exists(device):
            return f"there is none: the system has no {device}"
        if not os.access(device, os.R_OK | os.W_OK):
            return f"cannot be opened: {device} is not yours to read; join the group `video`"
    permission = ", or the system does not let this program use it (see its privacy settings)"
    return (
        "cannot be opened: it is absent, or another program uses it"
        f"{permission if sys.platform in ('darwin', 'win32') else ''}"
    )
