"""Colours that people who see no red or no green tell apart: of Okabe and Ito (2008)."""

from __future__ import annotations

from typing import Final, TypeAlias

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue, each in [0, 255]."""

ORANGE: Final[Colour] = (230, 159, 0)
SKY: Final[Colour] = (86, 180, 233)
GREEN: Final[Colour] = (0, 158, 115)
YELLOW: Final[Colour] = (240, 228, 66)
BLUE: Final[Colour] = (0, 114, 178)
VERMILLION: Final[Colour] = (213, 94, 0)
PURPLE: Final[Colour] = (204, 121, 167)

PAPER: Final = "#ffffff"
INK: Final = "#1a1a1a"  # on paper
SOFT_INK: Final = "#5c5c5c"


def in_hex(colour: Colour) -> str:
    """Return a colour as matplotlib takes it.

    >>> in_hex(BLUE)
    '#0072b2'
    """
    return "#" + bytes(colour).hex()
