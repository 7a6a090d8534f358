"""FER2013's rows: the label and the part of each, in the order of fer2013.csv.

FER+ numbers its votes by these rows. Archives of images number them within class and part; the
labels of all rows tell which image is which row.
"""

from __future__ import annotations

import lzma
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ferjax.data.dataset import SPLITS
from ferjax.emotions import EMOTIONS, FER2013_CSV_ORDER

# FER2013's images by part, in the order of EMOTIONS.
FER2013_COUNTS: Final[dict[str, tuple[int, ...]]] = {
    "Training": (3995, 436, 4097, 7215, 4965, 4830, 3171),
    "PublicTest": (467, 56, 496, 895, 607, 653, 415),
    "PrivateTest": (491, 55, 528, 879, 626, 594, 416),
}

PARTS: Final = tuple(FER2013_COUNTS)  # Training, PublicTest, PrivateTest: the order of the rows
SPLIT_OF: Final = dict(zip(PARTS, SPLITS))
SIZES: Final = {part: sum(counts) for part, counts in FER2013_COUNTS.items()}
ROWS: Final = sum(SIZES.values())

# A digit a row, as fer2013.csv has them; scripts/make_row_labels.py makes it.
ROW_LABELS_FILE: Final = Path(__file__).with_name("fer2013_row_labels.txt.xz")


@lru_cache(maxsize=1)
def row_labels() -> npt.NDArray[np.int32]:
    """Return the label of each row of fer2013.csv, int32 (35887,): positions in `EMOTIONS`."""
    text = lzma.decompress(ROW_LABELS_FILE.read_bytes()).strip()
    digits = np.frombuffer(text, np.uint8) - ord("0")
    of_digit = np.array([EMOTIONS.index(name) for name in FER2013_CSV_ORDER], np.int32)
    labels = of_digit[digits]
    labels.setflags(write=False)
    return labels


def rows_of(parts: tuple[str, ...]) -> npt.NDArray[np.intp]:
    """Return the rows of parts of FER2013, those of the first part first.

    >>> rows_of(("PublicTest",))[[0, -1]].tolist()
    [28709, 32297]
    """
    starts = dict(zip(PARTS, np.cumsum([0, *SIZES.values()]).tolist()))
    return np.concatenate([starts[part] + np.arange(SIZES[part]) for part in parts])


def combinations() -> dict[tuple[str, ...], tuple[int, ...]]:
    """Return the parts that may stand one after the other: each alone, two, all; and the number of
    images of each class in them, in the order of `EMOTIONS`.
    """
    spans = [PARTS[i : i + size] for size in (1, 2, 3) for i in range(len(PARTS) + 1 - size)]
    return {
        parts: tuple(map(sum, zip(*(FER2013_COUNTS[part] for part in parts)))) for parts in spans
    }
