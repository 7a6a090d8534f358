"""Films and cameras: who shows which expression, when, and how surely.

Pictures with their times: `sources`, with `films`, `cameras`, `pictures`, `cuts` and `ahead`.
Faces: `analysis`, with `settings`, `schedule`, `finding`, `interpolation`, `seen`, `tracks` and
`motion`. Over time: `smoothing` and `events`.
Files: `run`, with `outputs`, `tables`, `growing`, `webm`, `matroska`, `timeline`, `made`,
`checkpoint` and `interrupts`. Drawn: `painting`, also for the `window`.
"""

from __future__ import annotations

from ferjax.video.events import Event, find_events
from ferjax.video.pictures import Frame
from ferjax.video.seen import VideoFace, VideoFrame
from ferjax.video.settings import Settings
from ferjax.video.tables import to_pandas
from ferjax.video.timeline import plot

__all__ = [
    "Event",
    "Frame",
    "Settings",
    "VideoFace",
    "VideoFrame",
    "find_events",
    "plot",
    "to_pandas",
]
