"""Faces in photographs: find them, crop them as FER2013's are, draw what was found.

Find and crop: `detection`, with `yunet` and `own_look`, and `cropping`. Expressions: `analysis`,
with `options`, `face`, `stream`, `deferring`, `classifying` and `prior`, and `explaining`. Draw:
`drawing`, with `marks` and `placing`. A run over folders: `batch`, with `settings`, `outputs`,
`picture_files`, `results` and `journal`.

>>> import numpy as np
>>> detect(np.zeros((64, 64, 3), np.uint8))
[]
"""

from __future__ import annotations

from ferjax.faces.cropping import crop
from ferjax.faces.detection import Detection, Detector, detect
from ferjax.faces.drawing import draw
from ferjax.faces.explaining import heatmaps
from ferjax.faces.face import Face

__all__ = ["Detection", "Detector", "Face", "crop", "detect", "draw", "heatmaps"]
