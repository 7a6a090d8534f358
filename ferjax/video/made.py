"""What tells the films, pictures and Parquet files that ferjax made from those of others."""

from __future__ import annotations

import os
from typing import Final

MARK: Final = "ferjax video"
_LOOKED_AT: Final = 1 << 16  # bytes at either end of a file


def is_made(path: str) -> bool:
    """Whether a file is empty, or has the mark of those that ferjax makes."""
    try:
        with open(path, "rb") as file:
            ends = file.read(_LOOKED_AT)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOOKED_AT))
            ends += file.read()
    except (OSError, ValueError):
        return False
    return not ends or MARK.encode() in ends
