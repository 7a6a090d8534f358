"""Tables of what was predicted: what is in them, and examples of it.

`parts` reads the Parquet and CSV files that `ferjax faces` and `ferjax video` write, some `rows` at
a time; `summary` counts what is in them, with `histogram`; `examples` draws faces of each class;
`text` shows.
"""

from __future__ import annotations

from ferjax.stored.parts import Stored, is_stored, opened
from ferjax.stored.summary import Summary, summarize

__all__ = ["Stored", "Summary", "is_stored", "opened", "summarize"]
