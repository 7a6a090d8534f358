"""Letters for pictures: a font that scales, with Latin, Greek and Cyrillic, through Pillow.

The font in the package is Noto Sans Regular, cut to these alphabets. What a font lacks is written
in letters that it has, and a warning says so.

Dimension keys: h height, w width of a written line.
"""

from __future__ import annotations

import os
import unicodedata
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from ferjax.errors import FerjaxError, printable
from ferjax.image_files import UInt8Array

FONT: Final = Path(__file__).parent / "noto_sans_subset.ttf"

# Of the font's size: from the line's top to the letters' foot, and from there to its bottom.
_ABOVE: Final = 0.95
_BELOW: Final = 0.27
# Alphabets whose letters are named as they sound.
_SOUNDS: Final = ("HIRAGANA LETTER ", "KATAKANA LETTER ", "HANGUL SYLLABLE ")


class FontWarning(UserWarning):
    """A font lacks letters of a name, which is written with others."""


class Lettering:
    """Writes lines of text in one font.

    Args:
        font: a TrueType or OpenType file for names that the package's font cannot write.

    Raises:
        FerjaxError: the file is no font.
    """

    def __init__(self, font: str | os.PathLike[str] | None = None) -> None:
        paths = [] if font is None else [os.fspath(font)]
        for path in paths:
            try:
                _font(path, 12)
            except OSError as error:
                raise FerjaxError(
                    f"{printable(str(path))}: expected a TrueType or OpenType font for `font`, got "
                    f"what cannot be read as such ({printable(str(error), 200)})"
                ) from None
        self._paths = (*paths, str(FONT))
        self._replaced: dict[str, str] = {}

    def writable(self, text: str) -> str:
        """Return text as it will be written: on one line, in letters that a font has."""
        text = " ".join("".join(c if c.isprintable() else " " for c in text[:400]).split())
        written = _writable(text, self._paths)
        if written != unicodedata.normalize("NFC", text):
            self._replaced[text] = written
        return written

    def warn(self, stacklevel: int = 2) -> None:
        """Warn once of all names that are written in other letters than their own."""
        if not self._replaced:
            return
        names = [f"{printable(a, 60)!r} as {printable(b, 60)!r}" for a, b in self._replaced.items()]
        others = f" and {len(names) - 5} more" if len(names) > 5 else ""
        warnings.warn(
            f"names with letters that no font here has are written with others: "
            f"{', '.join(names[:5])}{others}; give `font`, a file of a font that has them",
            FontWarning,
            stacklevel=stacklevel + 1,
        )
        self._replaced.clear()

    def width(self, text: str, size: int) -> int:
        """Return how many pixels wide a line of a size is."""
        return int(self.line(text, size).shape[1])

    def height(self, size: int) -> int:
        """Return how many pixels high a line of a size is."""
        return round(_ABOVE * size) + round(_BELOW * size)

    def fitted(self, text: str, size: int, width: float) -> str:
        """Return text, cut so that it is at most so many pixels wide."""
        if self.width(text, size) <= width:
            return text
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.width(text[:middle].rstrip() + "…", size) <= width
            low, high = (middle, high) if fits else (low, middle - 1)
        return text[:low].rstrip() + "…"

    def line(self, text: str, size: int) -> UInt8Array:
        """Return how much of each pixel the letters of a line cover, uint8 (h, w) in [0, 255]."""
        return _line(text, size, self._paths)


@lru_cache(maxsize=64)
def _font(path: str, size: int) -> Any:
    from PIL import ImageFont

    own = path == str(FONT)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC if own else None)


@lru_cache(maxsize=512)
def _line(text: str, size: int, paths: tuple[str, ...]) -> UInt8Array:
    from PIL import Image, ImageDraw

    font = _font(next((p for p in paths if _lacks(text, p) == ""), paths[-1]), size)
    width = max(1, int(np.ceil(font.getlength(text))))
    above = round(_ABOVE * size)
    image = Image.new("L", (width, above + round(_BELOW * size)))
    ImageDraw.Draw(image).text((0, above), text, fill=255, font=font, anchor="ls")
    line = np.asarray(image).copy()
    line.flags.writeable = False
    return line


@lru_cache(maxsize=2048)
def _writable(text: str, paths: tuple[str, ...]) -> str:
    for form in (text, unicodedata.normalize("NFC", text)):
        if any(not _lacks(form, path) for path in paths):
            return form
    lacking = set.intersection(*(set(_lacks(form, path)) for path in paths))
    lacking = lacking or set(_lacks(form, paths[-1]))  # no font has all of them: the package's
    words = "".join(_spelt(c, paths[-1]) if c in lacking else c for c in form)
    words = "".join(_spelt(c, paths[-1]) for c in words) if _lacks(words, paths[-1]) else words
    return " ".join(words.split())


def _spelt(character: str, path: str) -> str:
    """Return what stands for a letter that a font lacks."""
    if not _lacks(character, path):
        return character
    plain = "".join(
        c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c)
    )
    if plain and plain != character and not _lacks(plain, path):
        return plain
    name = unicodedata.name(character, "")
    for alphabet in _SOUNDS:
        if name.startswith(alphabet):
            return name.removeprefix(alphabet).removeprefix("SMALL ").lower()
    if unicodedata.category(character).startswith("S") and name:
        return f" {name.lower()} "
    return "" if unicodedata.combining(character) else f" U+{ord(character):04X} "


@lru_cache(maxsize=4096)
def _lacks(text: str, path: str) -> str:
    """Return the letters of text that a font lacks."""
    if text.isascii() and path == str(FONT):
        return ""
    return "".join(dict.fromkeys(c for c in text if not _has(c, path)))


@lru_cache(maxsize=4096)
def _has(character: str, path: str) -> bool:
    if character.isspace():
        return True
    font = _font(path, 24)
    mask, missing = font.getmask(character), font.getmask("\uffff")  # no character, in no font
    return mask.size != missing.size or bytes(mask) != bytes(missing)
