"""What a network's predictions on labelled faces are worth."""

from __future__ import annotations

from ferjax.evaluate.accuracy import Accuracy, Evaluation, evaluate

__all__ = ["Accuracy", "Evaluation", "evaluate"]
