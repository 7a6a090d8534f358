"""Many photographs and films: one callable for Ray Data, Spark and Dask, and runs on Ray.

`predictor` has the callable, and `workers` says how many cores it may use; `tables` are what comes
in and what goes out. Of runs on Ray, `places` has the pictures, `jobs` says what is done with a
part of them, `folder` has the files that are written, `cluster` Ray's processes, and `run` joins
these.

>>> from ferjax.scale import Predictor
>>> predictor = Predictor(faces=True, min_score=0.8)  # loads nothing yet, and can be pickled
>>> rows = predictor({"path": ["party.jpg"]})  # doctest: +SKIP
"""

from ferjax.scale.predictor import Predictor

__all__ = ["Predictor"]
