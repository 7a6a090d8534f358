"""Whatever pictures come from: a film, a stream, a camera, or a user's own frames."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from ferjax.errors import VideoError
from ferjax.preprocessing import ChannelOrder, is_array
from ferjax.video.cameras import Camera
from ferjax.video.films import Film, is_live
from ferjax.video.pictures import Given

Source: TypeAlias = Any  # a path, an address, a camera's number, an open file, or frames
Opened: TypeAlias = "Film | Camera | Given"

LATENCIES: Final = ("low", "throughput")


def latency_of(source: Source, latency: str | None) -> str:
    """Return "low" for cameras and live streams, "throughput" for others, or what is asked for.

    Raises:
        ValueError: it is neither.
    """
    if latency is None:
        address = source if isinstance(source, str) else ""
        return "low" if isinstance(source, int) or is_live(address) else "throughput"
    if latency not in LATENCIES:
        raise ValueError(f"expected 'low' or 'throughput' for `latency`, got {latency!r}")
    return latency


def opened(
    source: Source,
    *,
    latency: str = "throughput",
    timeout: float = 10.0,
    channel_order: ChannelOrder = "rgb",
) -> Opened:
    """Open what pictures come from.

    Args:
        source: a path, a stream's address, the number of a camera, a film opened in binary mode, or
            an iterable of `Frame`s or pairs (seconds, image).
        latency: "low" or "throughput".
        timeout: seconds after which a stream that gives nothing is given up.
        channel_order: of the arrays among a user's images.

    Raises:
        VideoError: it cannot be opened, or is none of these.
    """
    if isinstance(source, int) and not isinstance(source, bool):
        return Camera(source)
    if isinstance(source, (str, os.PathLike)) or hasattr(source, "read"):
        return Film(source, timeout=timeout, low_latency=latency == "low")
    if isinstance(source, (bytes, Mapping)) or is_array(source) or not isinstance(source, Iterable):
        raise VideoError(
            "expected a path, a stream's address, a camera's number, an open file or an iterable "
            f"of pairs (seconds, image), got {type(source).__name__}"
        )
    return Given(source, channel_order)
