"""Letters: what the font has, what stands for what it lacks, and that it is the font it claims."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from ferjax.errors import FerjaxError
from ferjax.pictures.lettering import FONT, FontWarning, Lettering


def test_the_font_is_the_one_that_its_licence_speaks_of() -> None:
    digest = "18382c6002f94451e229b7ad3315a6f23543e62815fc0635a9043b00083225ee"
    assert hashlib.sha256(FONT.read_bytes()).hexdigest() == digest
    licence = FONT.with_name("NOTO_LICENSE.txt").read_text(encoding="utf-8")
    assert FONT.name in licence
    assert "SIL OPEN FONT LICENSE Version 1.1" in licence


@pytest.mark.parametrize("text", ["happy 93%", "colère", "Fröhlich", "радость", "φόβος", "vui vẻ…"])
def test_latin_greek_and_cyrillic_are_written_as_they_are(text: str) -> None:
    lettering = Lettering()
    assert lettering.writable(text) == text
    lettering.warn()  # of nothing


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("슬픔", "seulpeum"),
        ("よろこび", "yorokobi"),
        ("生气", "U+751F U+6C14"),
        ("😀 happy", "grinning face happy"),
        ("\uff53\uff41\uff44", "sad"),  # of full width
        ("①", "1"),
    ],
)
def test_other_letters_are_written_readably_with_one_warning(text: str, written: str) -> None:
    lettering = Lettering()
    assert lettering.writable(text) == written
    assert lettering.writable(text) == written
    with pytest.warns(FontWarning, match=re.escape(f"'{text}' as '{written}'; give")) as caught:
        lettering.warn()
    assert len(caught) == 1


def test_a_name_stays_on_one_line() -> None:
    assert Lettering().writable("hap\npy\t\x1b[31m\u202e end") == "hap py [31m end"


def test_a_letter_and_its_accent_apart_are_one_letter() -> None:
    lettering = Lettering()
    assert lettering.writable("cole\u0300re") == "colère"
    lettering.warn()  # of nothing


def test_no_letter_is_drawn_as_the_box_of_a_missing_one() -> None:
    lettering = Lettering()
    box = lettering.line("\uffff", 24)
    for letter in lettering.writable("生 슬 😀 é я φ %"):
        assert not np.array_equal(lettering.line(letter, 24), box)


def test_a_line_is_as_high_as_said_and_cannot_be_changed() -> None:
    lettering = Lettering()
    line = lettering.line("Ågy", 20)
    assert line.shape == (lettering.height(20), lettering.width("Ågy", 20))
    assert line.dtype == np.uint8
    assert line.max() == 255
    assert not line.flags.writeable


def test_long_names_are_cut_to_a_width() -> None:
    lettering = Lettering()
    assert lettering.fitted("sad", 16, 200) == "sad"
    cut = lettering.fitted("overwhelmingly pleasantly surprised", 16, 120)
    assert cut.startswith("overwhelm")
    assert cut.endswith("…")
    assert lettering.width(cut, 16) <= 120


def test_a_font_of_ones_own_is_asked_first() -> None:
    assert Lettering(FONT).writable("радость") == "радость"


def test_a_font_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "font.ttf"
    path.write_bytes(b"no font")
    with pytest.raises(FerjaxError, match=r"font\.ttf: expected a TrueType or OpenType font for"):
        Lettering(path)
    with pytest.raises(FerjaxError, match=r"none\.ttf: expected a TrueType"):
        Lettering(tmp_path / "none.ttf")
