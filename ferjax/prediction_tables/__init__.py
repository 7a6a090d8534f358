"""Tables of what was predicted: what is in them, and examples of it.

`parts` reads the Parquet and CSV files that `ferjax faces` and `ferjax video` write, some `rows` at
a time; `summary` counts what is in them, with `histogram`; `examples` draws faces of each class;
`text` shows.
"""

from __future__ import annotations

from ferjax.prediction_tables.parts import PredictionTable, is_prediction_table, opened
from ferjax.prediction_tables.summary import Summary, summarize

__all__ = ["PredictionTable", "Summary", "is_prediction_table", "opened", "summarize"]
