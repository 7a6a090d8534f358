"""How a face moves: a Kalman filter for its place, in which seconds count and not frames.

The place has a velocity that changes at random and, unseen, fades (an integrated Ornstein-Uhlenbeck
process); the size only drifts. After Bewley et al., "Simple Online and Realtime Tracking", ICIP
2016, whose model is of frames at a constant rate. Variances are in heights of the face, so that
near and far faces move alike; x and y share theirs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ferjax.faces.detection import Box

NOISE: Final = 0.03  # of the height: by how much a detector's box moves when the face does not
AGILITY: Final = 16.0  # heights squared by seconds cubed: how fast velocities change
FADING: Final = 1.0  # seconds in which the velocity of an unseen face falls to a third
START: Final = 2.0  # heights a second: how fast a face that is new may move
DRIFT: Final = 0.3  # of the size, in a second


@dataclass
class Motion:
    """Where a face is, how fast it moves, and how surely that is known.

    Attributes:
        centre: (x, y) in pixels.
        velocity: pixels a second.
        size: width and height of the box in pixels, and its roll in degrees.
        spread: variance of the place, covariance with the velocity, variance of the velocity.
        doubt: the variance of the size's logarithm.
    """

    centre: tuple[float, float]
    velocity: tuple[float, float]
    size: tuple[float, float]
    spread: tuple[float, float, float] = (NOISE**2, 0.0, START**2)
    doubt: float = NOISE**2

    @classmethod
    def of(cls, box: Box) -> Motion:
        """Return that of a face that is seen for the first time."""
        x, y, width, height = box
        return cls((x + width / 2, y + height / 2), (0.0, 0.0), (width, height))

    @property
    def box(self) -> Box:
        """(x, y, width, height) in pixels."""
        (x, y), (width, height) = self.centre, self.size
        return x - width / 2, y - height / 2, width, height

    @property
    def away(self) -> float:
        """By how much its place may be wrong, one standard deviation in heights of the face."""
        return math.sqrt(self.spread[0])

    def after(self, seconds: float) -> Motion:
        """Return where it is expected later."""
        kept = math.exp(-seconds / FADING)
        reach = FADING * (1 - kept)  # seconds of its velocity now that it still goes
        p, c, v = self.spread
        return Motion(
            centre=_moved(self.centre, self.velocity, reach),
            velocity=_moved((0.0, 0.0), self.velocity, kept),
            size=self.size,
            spread=(
                p + 2 * reach * c + reach**2 * v + AGILITY * seconds**3 / 3,
                kept * (c + reach * v) + AGILITY * seconds**2 / 2,
                kept**2 * v + AGILITY * seconds,
            ),
            doubt=self.doubt + DRIFT**2 * seconds,
        )

    def seen(self, box: Box) -> Motion:
        """Return what is known of it once it was seen in a box."""
        now = Motion.of(box)
        p, c, v = self.spread
        gain, push = p / (p + NOISE**2), c / (p + NOISE**2)
        trust = self.doubt / (self.doubt + NOISE**2)
        off = _moved(now.centre, self.centre, -1.0)
        (width, height), (new_width, new_height) = self.size, now.size
        return Motion(
            centre=_moved(self.centre, off, gain),
            velocity=_moved(self.velocity, off, push),
            size=(width * (new_width / width) ** trust, height * (new_height / height) ** trust),
            spread=((1 - gain) * p, (1 - gain) * c, v - push * c),
            doubt=(1 - trust) * self.doubt,
        )

    def state(self) -> list[Any]:
        """Return all its numbers, as JSON has them."""
        return [*self.centre, *self.velocity, *self.size, *self.spread, self.doubt]

    @classmethod
    def restored(cls, state: list[float]) -> Motion:
        """Return what `state` gave the numbers of."""
        x, y, vx, vy, width, height, p, c, v, doubt = (float(number) for number in state)
        return cls((x, y), (vx, vy), (width, height), (p, c, v), doubt)


def _moved(
    start: tuple[float, float], by: tuple[float, float], times: float
) -> tuple[float, float]:
    return start[0] + times * by[0], start[1] + times * by[1]


def overlap(first: Box, second: Box) -> float:
    """Return the intersection of two boxes over their union, in [0, 1].

    >>> overlap((0, 0, 2, 2), (1, 0, 2, 2))
    0.3333333333333333
    """
    (ax, ay, aw, ah), (bx, by, bw, bh) = first, second
    across = min(ax + aw, bx + bw) - max(ax, bx)
    down = min(ay + ah, by + bh) - max(ay, by)
    common = max(0.0, across) * max(0.0, down)
    whole = aw * ah + bw * bh - common
    return common / whole if whole > 0 else 0.0


def apart(first: Box, second: Box) -> float:
    """Return the distance of two boxes' centres, in the mean of their heights."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = first, second
    distance = np.hypot(ax + aw / 2 - bx - bw / 2, ay + ah / 2 - by - bh / 2)
    return float(2 * distance / (ah + bh))
