"""The callable of every engine: kinds of batches, columns, errors, where it is loaded."""

from __future__ import annotations

import math
import pickle
import sys
import threading
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas
import pyarrow
import pytest

import ferjax
from ferjax import EmotionClassifier, hardware
from ferjax.errors import FerjaxError, ImageError, PriorError
from ferjax.faces import results, stream
from ferjax.scale import Predictor, predictor, workers

from .photographs import FACE

NAMES = ("one.png", "sub/two.png", "none.png", "cut.png", "empty.jpg")


@pytest.fixture
def batch(photos: Path) -> dict[str, list[Any]]:
    """Photographs as Ray reads them, and a column of one's own."""
    return {
        "bytes": [(photos / name).read_bytes() for name in NAMES],
        "path": list(NAMES),
        "id": [10, 11, 12, 13, 14],
    }


def columns(rows: Any, *names: str) -> list[list[Any]]:
    return [list(rows[name]) for name in names]


def test_each_face_has_a_row_and_so_has_each_photograph_without_one(
    classifier: EmotionClassifier, batch: dict[str, list[Any]]
) -> None:
    rows = Predictor(classifier, keep=["id"])(batch)
    path, face, ids = columns(rows, "path", "face", "id")
    assert path == ["one.png", "sub/two.png", "sub/two.png", "none.png", "cut.png", "empty.jpg"]
    assert face == [1, 1, 2, 0, 0, 0]
    assert ids == [10, 11, 11, 12, 13, 14]
    assert [*rows] == [*results.columns("abcdefg"), "id"]
    assert [error and error.split(":")[0] for error in rows["error"]] == [
        *[None] * 4,
        "cut.png",
        "empty.jpg",
    ]
    assert [label is None for label in rows["label"]] == [False] * 3 + [True] * 3
    assert [math.isnan(x) for x in rows["x"]] == [False] * 3 + [True] * 3
    # The same as of one photograph alone.
    (expected,) = classifier.analyze(FACE[..., ::-1])
    assert rows["confidence"][0] == pytest.approx(expected.confidence, abs=1e-6)
    assert rows["width"][0] == pytest.approx(expected.box[2], abs=0.01)


def test_rows_are_those_of_the_table_of_ferjax_faces(
    classifier: EmotionClassifier, photos: Path, tmp_path: Path
) -> None:
    from ferjax.faces.batch import Batch
    from ferjax.faces.settings import Settings

    table = tmp_path / "faces.csv"
    list(Batch(classifier, [str(photos)], Settings(table=str(table))))
    paths = [str(path) for path in photos.rglob("*") if path.suffix in (".png", ".jpg")]
    rows = Predictor(classifier)(pandas.DataFrame({"path": paths}))
    expected = pandas.read_csv(table)
    order = ["path", "face"]
    found = rows.sort_values(order).reset_index(drop=True)
    expected = expected.sort_values(order).reset_index(drop=True)
    assert list(found.columns) == list(expected.columns)
    for name in expected.columns:
        missing = found[name].isna()
        assert list(missing) == list(expected[name].isna()), name
        assert list(found[name][~missing]) == list(expected[name][~missing]), name


@pytest.mark.parametrize("kind", ["dict", "pandas", "table", "batch"])
def test_columns_are_of_the_kind_that_came(
    classifier: EmotionClassifier, batch: dict[str, list[Any]], kind: str
) -> None:
    given: Any = {
        "dict": lambda: {name: np.array(values, object) for name, values in batch.items()},
        "pandas": lambda: pandas.DataFrame(batch),
        "table": lambda: pyarrow.table(batch),
        "batch": lambda: pyarrow.RecordBatch.from_pydict(batch),
    }[kind]()
    rows = Predictor(classifier, keep=["id"])(given)
    assert type(rows) is type(given)
    if kind in ("table", "batch"):
        schema = Predictor(classifier).schema
        assert rows.schema == schema.append(pyarrow.field("id", pyarrow.int64()))
        rows = rows.to_pydict()
    assert list(rows["face"]) == [1, 1, 2, 0, 0, 0]
    assert list(rows["id"]) == [10, 11, 11, 12, 13, 14]
    assert list(rows["too_small"])[:4] == [False, False, False, None]


@pytest.mark.parametrize("kind", [dict, pandas.DataFrame, pyarrow.table])
def test_an_empty_batch_gives_no_rows_of_the_same_columns(
    classifier: EmotionClassifier, kind: Any
) -> None:
    given = {"path": pyarrow.array([], pyarrow.string())}
    rows = Predictor(classifier)(kind(given) if kind is not dict else {"path": []})
    assert len(rows["path"]) == 0
    names = rows.schema.names if kind is pyarrow.table else [*rows]
    assert list(names) == results.columns("abcdefg")


def test_pictures_that_are_one_face_each(
    classifier: EmotionClassifier, batch: dict[str, list[Any]]
) -> None:
    rows = Predictor(classifier, faces=False)(batch)
    assert [*rows] == ["path", "label", "confidence", *"abcdefg", "error"]
    assert list(rows["path"]) == list(NAMES)
    assert [error is None for error in rows["error"]] == [True, True, True, False, False]
    expected = classifier.predict_proba(batch["bytes"][0], resize="linear")[0]
    found = [rows[label][0] for label in "abcdefg"]
    assert found == pytest.approx(expected, abs=1e-6)
    assert rows["label"][0] == "abcdefg"[int(np.argmax(expected))]


def test_arrays_are_pictures_too(classifier: EmotionClassifier) -> None:
    images = np.stack([FACE[..., ::-1], np.zeros_like(FACE)])
    rows = Predictor(classifier)({"image": images})
    assert columns(rows, "path", "face") == [[None, None], [1, 0]]
    chosen = Predictor(classifier, column="photo", channel_order="bgr")({"photo": [FACE]})
    assert chosen["x"][0] == rows["x"][0]


def test_cells_without_a_picture_are_errors(classifier: EmotionClassifier) -> None:
    frame = pandas.DataFrame({"path": ["a.jpg", None, math.nan]})
    rows = Predictor(classifier)(frame)
    assert ["no such file" in rows["error"][0], "empty" in rows["error"][1]] == [True, True]
    assert len(rows) == 3


@pytest.mark.parametrize("faces", [True, False])
def test_a_picture_that_another_library_fails_at_is_an_error_of_its_own(
    classifier: EmotionClassifier,
    batch: dict[str, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    faces: bool,
) -> None:
    module: Any = stream.preprocessing
    name = "load_picture" if faces else "_load"
    load = getattr(module, name)

    def failing(source: Any, *args: Any, **options: Any) -> Any:
        image = load(source, *args, **options)
        if np.shape(image)[:2] == (48, 64):  # none.png
            raise cv2.error("assertion failed\nin two lines")
        return image

    monkeypatch.setattr(module, name, failing)
    rows = Predictor(classifier, faces=faces)(batch)
    index = list(rows["path"]).index("none.png")
    assert rows["error"][index] == "none.png: error: assertion failed"
    assert [error is None for error in rows["error"]].count(True) == (3 if faces else 2)


def test_what_fails_for_any_picture_is_raised(
    classifier: EmotionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the device is lost")

    monkeypatch.setattr(classifier, "predict_batch", fail)
    with pytest.raises(RuntimeError, match="the device is lost"):
        Predictor(classifier)({"image": [FACE]})


def test_it_is_small_and_loads_once_in_a_process(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = ferjax.classifier.load

    def counted(path: Any, **options: Any) -> Any:
        loaded.append(path)
        return load(path, labels=list("abcdefg"), **options)

    monkeypatch.setattr("ferjax.classifier.load", counted)
    monkeypatch.setattr(predictor, "_classifiers", {})
    made = Predictor(source, min_score=0.8)
    content = pickle.dumps(made)
    assert len(content) < 3000 and not loaded
    rows = []

    def use() -> None:
        rows.append(pickle.loads(content)({"image": [FACE]}))

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(r["face"]) for r in rows] == [1, 1, 1]
    assert loaded == [str(source)]
    assert Predictor(source).layout == made.layout and len(loaded) == 1


def test_a_classifier_travels_along(classifier: EmotionClassifier) -> None:
    classifier.predict(FACE)  # what computes does not travel
    made = pickle.loads(pickle.dumps(Predictor(classifier)))
    assert list(made({"image": [FACE]})["face"]) == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_scor": 0.5}, "expected an option of faces among .*, got 'min_scor'; did you mean"),
        ({"faces": False, "min_score": 0.5}, "expected an option of crops among resize, .*"),
        ({"threads": 0}, "expected an integer from 1 on for `threads`, got 0"),
        ({"abstain_below": 2}, r"expected `abstain_below` in \[0, 1\], got 2"),
    ],
)
def test_options_that_there_are_not(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FerjaxError, match=message):
        Predictor(**options)


def test_options_out_of_range_are_told_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match="`min_score`"):
        Predictor(min_score=3)
    with pytest.raises(PriorError, match="needs all faces before the first result"):
        Predictor(prior="adapt")


def test_batches_that_it_cannot_take(classifier: EmotionClassifier) -> None:
    made = Predictor(classifier)
    with pytest.raises(TypeError, match=r"expected a dict of arrays, .* for `batch`, got list"):
        made(["a.jpg"])
    with pytest.raises(FerjaxError, match=r"among bytes, content, image, path .* got file; `col"):
        made({"file": ["a.jpg"]})
    with pytest.raises(FerjaxError, match="expected a column 'ids' in the batch, got path, id; d"):
        Predictor(classifier, keep="ids")({"path": [], "id": []})
    with pytest.raises(FerjaxError, match="as many values in column 'id' as pictures, 2, got 1"):
        Predictor(classifier, keep="id")({"bytes": [b"", b""], "id": [1]})
    with pytest.raises(FerjaxError, match="as many values in column 'path' as pictures, 1, got 2"):
        made({"bytes": [b""], "path": ["a", "b"]})
    with pytest.raises(FerjaxError, match="rows have a column 'label' of their own; rename that"):
        Predictor(classifier, keep="label")({"bytes": [b""], "label": ["mine"]})
    twice = [pyarrow.array([b""])] * 2
    for batch in (
        pyarrow.Table.from_arrays(twice, ["bytes", "bytes"]),
        pandas.DataFrame([[b"", b""]], columns=["bytes", "bytes"]),
    ):
        with pytest.raises(FerjaxError, match="different columns in the batch, got 'bytes' twice"):
            made(batch)


def test_columns_of_pandas_are_called_what_they_are(classifier: EmotionClassifier) -> None:
    frame = pandas.DataFrame({0: [FACE, None], 1: ["a", math.nan], 2: [5, 6]}, index=["x", "x"])
    rows = Predictor(classifier, column="0", names="1", keep="2")(frame)
    assert columns(rows, "path", "2") == [["a", rows["path"][1]], [5, 6]]
    assert rows["path"][1] != "nan"
    assert rows["error"][1] == "nothing: empty, 0 bytes"


def test_the_path_is_kept_already(classifier: EmotionClassifier) -> None:
    rows = Predictor(classifier, keep="path")(pyarrow.table({"bytes": [b""], "path": ["a.jpg"]}))
    assert rows.schema.names == results.columns("abcdefg")
    assert rows["path"].to_pylist() == ["a.jpg"]


def test_weights_that_are_none() -> None:
    with pytest.raises(FerjaxError, match="classifier or None for `weights`, got int"):
        Predictor(5)  # type: ignore[arg-type]


def test_cores_are_those_that_an_engine_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda _: range(16), raising=False)
    for engine in ("ray", "pyspark", "distributed"):
        monkeypatch.delitem(sys.modules, engine, raising=False)
    assert workers.cores() == 16
    dask: Any = types.ModuleType("distributed")
    state = types.SimpleNamespace(nthreads=4)
    dask.get_worker = lambda: types.SimpleNamespace(state=state)
    monkeypatch.setitem(sys.modules, "distributed", dask)
    assert workers.cores() == 4
    spark: Any = types.ModuleType("pyspark")
    spark.TaskContext = types.SimpleNamespace(get=lambda: types.SimpleNamespace(cpus=lambda: 2))
    monkeypatch.setitem(sys.modules, "pyspark", spark)
    assert workers.cores() == 2
    spark.TaskContext.get = lambda: None  # of the driver
    assert workers.cores() == 4
    hardware.limit_cores(3)
    try:
        assert hardware.cores() == 3
    finally:
        hardware.limit_cores(None)


def test_an_image_error_of_a_whole_batch_is_none(classifier: EmotionClassifier) -> None:
    """What `analyze` raises for a list is a row here."""
    with pytest.raises(ImageError):
        classifier.analyze([b"junk"])
    (error,) = Predictor(classifier)({"bytes": [b"junk"], "path": ["x.jpg"]})["error"]
    assert error.startswith("x.jpg: not an image that ferjax can read")
