"""Many photographs and films: one callable for Ray Data, Spark and Dask, and runs on Ray.

>>> from ferjax.scale import Predictor
>>> predictor = Predictor(faces=True, min_score=0.8)  # loads nothing yet, and can be pickled
>>> rows = predictor({"path": ["party.jpg"]})  # doctest: +SKIP
"""

from ferjax.scale.predictor import Predictor

__all__ = ["Predictor"]
