"""The errors that ferjax raises: one base class, each also the nearest builtin."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable, Sequence


class FerjaxError(Exception):
    """Base class of every error that ferjax raises on purpose."""


class ImageError(FerjaxError, ValueError):
    """An image cannot be read, or an array is not an image."""


class SkippedPixelsWarning(RuntimeWarning):
    """A large image is resized bilinearly, as published, which skips most of its pixels."""


class DetectorError(FerjaxError, ValueError):
    """A face detector cannot be loaded, fails, or returns what are no faces."""


class VideoError(FerjaxError, ValueError):
    """A film, camera or stream cannot be used, or ends where it should go on."""


class VideoWarning(UserWarning):
    """Frames of a film are damaged, or its times are not what times are."""


class DataError(FerjaxError, ValueError):
    """A dataset cannot be used: a file, a member of an archive, a row or a class in it."""


class LabelsError(FerjaxError, ValueError):
    """Label names do not fit the network or are not known."""


class LabelsWarning(UserWarning):
    """Weights come without class names, and those of a known network are taken."""


class NoLabelsWarning(LabelsWarning):
    """Weights come without class names, and nobody knows them."""


class PriorError(FerjaxError, ValueError):
    """A prior says nothing of these classes, or cannot be applied or estimated."""

    def __str__(self) -> str:
        # Class names come from files: a control character in one must not break the line.
        return printable(str(self.args[0]) if self.args else "")


class PriorWarning(UserWarning):
    """A prior is estimated from few faces, or applied to probabilities that are not calibrated."""


class LayerError(FerjaxError, ValueError):
    """A layer description is invalid, or layers do not fit together."""


class UnknownLayerError(LayerError):
    """A layer is outside the vocabulary."""


class WeightFileError(FerjaxError, ValueError):
    """A weight file cannot be used. `problems` lists everything that is wrong with it.

    >>> print(WeightFileError("m.h5", ["layer 'a': no kernel", "layer 'b': no bias"]))
    m.h5: 2 problems: layer 'a': no kernel; layer 'b': no bias
    """

    def __init__(self, path: object, problems: str | Sequence[str]) -> None:
        self.path = str(path)
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(self.path, self.problems)

    def __str__(self) -> str:
        count = f"{len(self.problems)} problems: " if len(self.problems) > 1 else ""
        # Names come from the file: a control character in one must not break the line.
        return printable(f"{self.path}: {count}{'; '.join(self.problems)}")


class HubError(WeightFileError):
    """Weights cannot be had from a hub, or an address of theirs is none."""


class BackendError(FerjaxError, RuntimeError):
    """JAX cannot use the device that it is told to use."""


class WriteError(FerjaxError, OSError):
    """A file cannot be written."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line that called ferjax: Python then says the same words once a place."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("ferjax."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def printable(text: str, limit: int = 4000) -> str:
    """Return `text` on one line: control characters escaped, the middle cut beyond `limit`."""
    line = text[: 2 * limit]
    if not line.isprintable():  # most is, and files have names by the thousand
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= limit else f"{line[: limit // 2]} ... {line[-limit // 2 :]}"


def first_line(error: BaseException) -> str:
    """Return the first line of what another library says of an error, as `printable`."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0], 300)


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and those that led to it, the one that it began with last."""
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__ or error
    return chain


def listed(names: Sequence[str]) -> str:
    """Return names for a line of text, ten at most, each as `printable`."""
    shown = ", ".join(printable(name, 40) for name in names[:10])
    return f"{shown}, ..." if len(names) > 10 else shown


def near_misses(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean 'a' or 'b'?" for the closest known names, or nothing.

    >>> near_misses("Conv2d", ["Conv2D", "Dense"])
    "; did you mean 'Conv2D'?"
    """
    close = difflib.get_close_matches(str(name)[:100], list(names), n=3, cutoff=0.7)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
