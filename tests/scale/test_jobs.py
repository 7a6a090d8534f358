"""What is done with a part: films that a library fails at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ferjax import EmotionClassifier
from ferjax.scale.attempts import Attempt
from ferjax.scale.folder import Counts, Folder
from ferjax.scale.jobs import FilmJob, Part
from ferjax.scale.predictor import Predictor
from ferjax.video.settings import Settings

parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")


class Failing:
    """An analysis that a library fails at after its first frame, which has no face."""

    def __init__(self, *_: Any) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        yield type("Frame", (), {"faces": ()})()
        raise RuntimeError("an odd film\nof many lines")


def done(tmp_path: Path, classifier: EmotionClassifier) -> Counts:
    folder = Folder(str(tmp_path / "rows"))
    folder.begin({}, 1, replace=False)
    part = Part("part-a", "", ["a.mp4"])
    with Attempt(folder, part.name, 1) as attempt:
        return FilmJob(Settings()).do(classifier, part, folder.writer(), attempt)


def test_a_film_that_a_library_fails_at_has_a_row(
    tmp_path: Path, classifier: EmotionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ferjax.video.analysis.Analysis", Failing)
    counts = done(tmp_path, classifier)
    assert (counts.inputs, counts.failed, counts.empty) == (1, 1, 0)
    (row,) = parquet.read_table(tmp_path / "rows" / "part-a.parquet").to_pylist()
    assert (row["path"], row["error"]) == ("a.mp4", "a.mp4: RuntimeError: an odd film")


def test_a_gpu_that_is_lost_is_no_fault_of_the_film(
    tmp_path: Path, classifier: EmotionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> Iterator[Any]:
        raise RuntimeError("the GPU is lost")

    monkeypatch.setattr("ferjax.video.analysis.Analysis", Failing)
    monkeypatch.setattr(Predictor, "_stream", lost)
    with pytest.raises(RuntimeError, match="an odd film"):
        done(tmp_path, classifier)
