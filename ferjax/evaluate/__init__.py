"""What a network's predictions on labelled faces are worth.

`evaluate` measures, `evaluate_table` what a run has predicted, and `write_report` shows;
`calibrate` fits a calibration; `label_order` tells what a network's outputs stand for; `write_card`
writes the model card. Behind them: `metrics` and their `intervals`, `votes`, `scaling_fits`,
`views`, `provenance`, `corruptions` and `robustness`, `attributes` and `subgroups`, `recording`;
and to show it `votes_tables`, `subgroups_text`, `tables`, `plots` and their `gallery`.
"""

from __future__ import annotations

from ferjax.evaluate.calibration import Fitted, calibrate
from ferjax.evaluate.card import write_card
from ferjax.evaluate.evaluation import Evaluation, evaluate
from ferjax.evaluate.label_order import LabelOrder, label_order
from ferjax.evaluate.metrics import Metrics, measure
from ferjax.evaluate.prediction_table import evaluate_table
from ferjax.evaluate.report import write_report

__all__ = [
    "Evaluation",
    "Fitted",
    "LabelOrder",
    "Metrics",
    "calibrate",
    "evaluate",
    "evaluate_table",
    "label_order",
    "measure",
    "write_card",
    "write_report",
]
