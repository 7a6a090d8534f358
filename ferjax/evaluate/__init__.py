"""What a network's predictions on labelled faces are worth.

`evaluate` measures and `write_report` shows; `calibrate` fits a temperature; `write_card` writes
the model card. Behind them: `metrics`, `views`, `provenance`, `corruptions` and `robustness`,
`attributes` and `subgroups`, `plots`.
"""

from __future__ import annotations

from ferjax.evaluate.calibration import Fitted, calibrate
from ferjax.evaluate.card import write_card
from ferjax.evaluate.evaluation import Evaluation, evaluate
from ferjax.evaluate.metrics import Metrics, measure
from ferjax.evaluate.report import write_report

__all__ = [
    "Evaluation",
    "Fitted",
    "Metrics",
    "calibrate",
    "evaluate",
    "measure",
    "write_card",
    "write_report",
]
