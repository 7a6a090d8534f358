"""Parts at which workers die: what is to blame is left out, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ferjax import EmotionClassifier
from ferjax.faces.options import FaceOptions
from ferjax.scale.attempts import Attempt
from ferjax.scale.folder import Counts, Folder
from ferjax.scale.jobs import FilmJob, Part, PictureJob
from ferjax.scale.places import Fetcher
from ferjax.scale.predictor import Predictor
from ferjax.video.settings import Settings

parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")

KIND = "left out, for the process that looks at it dies"


class Death(BaseException):
    """Stands for the end of a process, after which nothing of it runs."""


@pytest.fixture(params=["path", "address"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    out = str(tmp_path / "rows")
    if request.param == "address":
        pytest.importorskip("fsspec", reason="needs fsspec")
        out = f"local://{out}"
    folder = Folder(out)
    folder.begin({}, 2, replace=False)
    return folder


def attempts(folder: Folder, job: Any, classifier: Any, part: Part) -> tuple[Counts, int]:
    """Do a part until it is done; return what came of it, and how many died."""
    for deaths in range(9):
        attempt = Attempt(folder, part.name, len(part.paths)).__enter__()
        try:
            counts = job.do(classifier, part, folder.writer(), attempt)
        except Death:
            continue
        attempt.__exit__(None, None, None)
        return counts, deaths
    raise AssertionError


def deadly(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[int]:
    """Have some pictures end whoever looks at them; return how many each call looks at."""
    rows, calls = Predictor.rows, []

    def dying(self: Predictor, sources: Sequence[Any], given: Sequence[str]) -> Iterator[Any]:
        calls.append(len(given))
        for row, name in zip(rows(self, sources, given), given):
            if name.endswith(names):
                raise Death
            yield row

    monkeypatch.setattr(Predictor, "rows", dying)
    return calls


def part_of(photos: Path, *names: str) -> Part:
    return Part("part-a", "", [str(photos / name) for name in names])


@pytest.mark.parametrize("faces", [True, False], ids=["photographs", "crops"])
def test_a_deadly_picture_is_left_out(
    folder: Folder,
    faces: bool,
    photos: Path,
    tmp_path: Path,
    classifier: EmotionClassifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = PictureJob(FaceOptions(), faces=faces)
    names = ("empty.jpg", "none.png", "one.png", "sub/two.png")
    part = part_of(photos, *names)
    whole = PictureJob(FaceOptions(), faces=faces)
    sound, deaths = attempts(folder, whole, classifier, part)
    assert deaths == 0
    expected = parquet.read_table(tmp_path / "rows" / "part-a.parquet").to_pylist()
    calls = deadly(monkeypatch, "one.png", "none.png")
    counts, deaths = attempts(folder, job, classifier, part)
    assert deaths == 1 + 2 + 2  # the first tells nothing of which it is
    assert calls[0] == 4 and set(calls[1:]) == {1}
    assert (counts.inputs, counts.failed) == (4, sound.failed + 2)
    assert counts.errors == {**sound.errors, KIND: 2}
    found = parquet.read_table(tmp_path / "rows" / "part-a.parquet").to_pylist()
    left_out = [row["path"] for row in found if str(row["error"]).endswith(KIND)]
    assert left_out == part.paths[1:3]
    assert [row for row in found if row["path"] not in left_out] == [
        row for row in expected if row["path"] not in left_out
    ]
    assert not [p for p in (tmp_path / "rows").iterdir() if p.name.startswith(".begun")]


def test_a_death_by_chance_blames_nobody(
    folder: Folder, photos: Path, classifier: EmotionClassifier, tmp_path: Path
) -> None:
    part = part_of(photos, "one.png", "none.png")
    Attempt(folder, part.name, 2).__enter__()  # and dies
    with Attempt(folder, part.name, 2) as second:
        assert not second.is_first
        assert second.begin(0)
        other = Attempt(folder, part.name, 2).__enter__()  # after one death at the first picture
        assert other.begin(0) and other.begin(1)
    counts, deaths = attempts(folder, PictureJob(FaceOptions()), classifier, part)
    assert (counts.failed, counts.faces, deaths) == (0, 1, 0)


def test_a_part_of_one_is_known_by_two_deaths(folder: Folder) -> None:
    for _ in range(2):
        assert Attempt(folder, "part-a", 1).__enter__().begin(0)
    assert not Attempt(folder, "part-a", 1).begin(0)


def test_a_deadly_film_is_left_out(
    folder: Folder,
    tmp_path: Path,
    classifier: EmotionClassifier,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dying(*arguments: Any) -> Iterator[Any]:
        raise Death
        yield

    monkeypatch.setattr(FilmJob, "_frames", dying)
    part = Part("part-a", "", ["a.mp4"])
    counts, deaths = attempts(folder, FilmJob(Settings()), classifier, part)
    assert deaths == 2
    assert (counts.inputs, counts.failed, counts.errors) == (1, 1, {KIND: 1})
    (row,) = parquet.read_table(tmp_path / "rows" / "part-a.parquet").to_pylist()
    assert (row["path"], row["error"]) == ("a.mp4", f"a.mp4: {KIND}")


def test_errors_are_no_deaths(folder: Folder) -> None:
    with pytest.raises(ValueError, match="once"), Attempt(folder, "part-a", 1):
        raise ValueError("once")
    assert Attempt(folder, "part-a", 1).is_first


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"deaths": {}}',
        b'{"call": "", "at": "x", "deaths": {}}',
        b'{"call": "", "at": Infinity, "deaths": {}}',
        b'{"call": "", "deaths": 1}',
    ],
)
def test_a_note_that_is_half_written(folder: Folder, note: bytes) -> None:
    folder.leave_note("part-a", note)
    attempt = Attempt(folder, "part-a", 2)
    assert not attempt.is_first and attempt.begin(0) and attempt.begin(1)


def test_the_next_call_knows_nothing_of_deaths(folder: Folder) -> None:
    Attempt(folder, "part-a", 2).__enter__()
    folder.begin({}, 2, replace=False)
    assert Attempt(folder, "part-a", 2).is_first


def test_notes_of_another_call_tell_nothing(folder: Folder) -> None:
    for _ in range(2):  # they die, and nobody may remove what they leave
        Attempt(folder, "part-a", 1, "earlier").__enter__()
    assert not Attempt(folder, "part-a", 1, "earlier").begin(0)
    attempt = Attempt(folder, "part-a", 1, "now")
    assert attempt.is_first and attempt.begin(0)


def test_after_a_death_nothing_is_fetched_ahead(
    folder: Folder, photos: Path, classifier: EmotionClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec", reason="needs fsspec")
    fetched: list[str] = []
    fetch = Fetcher._fetch

    def counted(self: Any, path: str) -> bytes:
        fetched.append(path)
        return fetch(self, path)

    monkeypatch.setattr(Fetcher, "_fetch", counted)
    deadly(monkeypatch, "none.png")
    part = part_of(photos, "none.png", "one.png", "sub/two.png")
    part = Part(part.name, f"local://{photos}", part.paths)
    Attempt(folder, part.name, 3).__enter__()
    attempt = Attempt(folder, part.name, 3).__enter__()
    with pytest.raises(Death):
        PictureJob(FaceOptions()).do(classifier, part, folder.writer(), attempt)
    assert fetched == part.paths[:1]  # whose memory is not blamed on others
