"""Subgroups: the table of attributes, figures by group, gaps and their tests."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from sklearn.metrics import f1_score, recall_score

from ferjax.errors import DataError
from ferjax.evaluate import attributes as attributes_module
from ferjax.evaluate.attributes import Attributes, read_attributes
from ferjax.evaluate.subgroups import GroupComparison, Subgroups, compare_groups
from ferjax.evaluate.subgroups_text import text

NAMES = ("test/angry/im0.png", "test/angry/im1.png", "test/happy/im0.png", "row 17")
OTHERS = ("train/angry/im1.png", "train/sad/im9.png")
ALL = NAMES + OTHERS


def write(path: Path, table: str, encoding: str = "utf-8") -> Path:
    file = path / "people.csv"
    file.write_bytes(table.encode(encoding))
    return file


def read(path: Path, table: str, names: Sequence[str] = NAMES) -> Attributes:
    """Read a table in which nothing is odd."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_attributes(write(path, table), names, all_names=ALL)


FULL = "".join(f"{name},f\n" for name in NAMES)


def test_a_table(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "image,gender,age_group\n"
        "row 17,male,20-39\n\n"
        "train/sad/im9.png,female,60+\n"
        "test/happy/im0.png, female ,\n"
        ' , \ntest/angry/im0.png,,"20, or more"\n'
        "test/angry/im1.png,male,20-39\n",
    )
    assert found == Attributes(
        columns={
            "gender": (None, "male", "female", "male"),
            "age_group": ("20, or more", "20-39", None, "20-39"),
        }
    )


@pytest.mark.parametrize("delimiter", ",;\t")
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_forms_of_csv(tmp_path: Path, delimiter: str, end: str, encoding: str) -> None:
    rows = [["image", "Stimmung, glückliche"], *([name, "ja, sehr"] for name in NAMES)]
    quote = '"' if delimiter == "," else ""
    table = end.join(delimiter.join(f"{quote}{c}{quote}" for c in row) for row in rows)
    found = read_attributes(write(tmp_path, table, encoding), NAMES)
    assert found.columns == {"Stimmung, glückliche": ("ja, sehr",) * 4}


def test_an_image_is_found_by_the_end_of_its_path(tmp_path: Path) -> None:
    table = (
        "image,a\nangry/im0.png,1\ntest\\angry\\im1.png,2\n./test/happy/im0.png,3\n"
        "row 17,4\nim9.png,5\n"
    )
    assert read(tmp_path, table).columns == {"a": ("1", "2", "3", "4")}


def test_part_of_a_folders_name_finds_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 about unknown images \('y/im0.png', '17'\)"):
        read(tmp_path, "image,a\ny/im0.png,1\n17,1\n")


@pytest.mark.parametrize("all_names", [None, ALL])
def test_an_end_that_fits_several(tmp_path: Path, all_names: Sequence[str] | None) -> None:
    # im0.png fits two measured images; angry/im1.png one measured image and one of training.
    file = write(tmp_path, "image,a\nim0.png,1\nangry/im1.png,2\nrow 17,3\n")
    counted = "1 row" if all_names is None else "2 rows"
    with (
        pytest.warns(UserWarning, match=f"{counted} with a name that fits several images, left"),
        pytest.warns(UserWarning, match="no row about"),
    ):
        found = read_attributes(file, NAMES, all_names=all_names)
    assert found.columns == {"a": (None, "2" if all_names is None else None, None, "3")}


def test_a_full_name_comes_before_an_end(tmp_path: Path) -> None:
    names = ("im0.png", "a/im0.png")
    found = read(tmp_path, "image,a\nim0.png,1\na/im0.png,2\n", names)
    assert found.columns == {"a": ("1", "2")}


def test_two_images_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 with a name that fits several \('a.png'\)"):
        read(tmp_path, "image,a\na.png,1\n", ("a.png", "a.png"))


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("image,a\n" + FULL + "x1,f\nx2,f\n", "2 rows about unknown images, left out: 'x1', 'x2'$"),
        (
            "image,a\n" + FULL + "".join(f"x{i},f\n" for i in range(1200)),
            "1,200 rows about unknown images, left out: 'x0', 'x1', 'x2', ...$",
        ),
        ("image,a\n" + FULL + "im0.png,f\n", "1 row with a name that fits several .*: 'im0.png'$"),
        ("image,a\n" + FULL + FULL, "4 repeated rows with equal values$"),
        ("image,a\n" + FULL + "angry/im0.png,f\n", "1 repeated row with equal values$"),
        ("image,a\nrow 17,f\n", "no row about 3 of 4 measured images$"),
        (
            "image,a,b,c\n" + FULL.replace("f\n", "f,,\n"),
            "2 attributes without a value for any measured image, left out: 'b', 'c'$",
        ),
    ],
)
def test_what_is_warned_of(tmp_path: Path, table: str, match: str) -> None:
    file = write(tmp_path, table)
    with pytest.warns(UserWarning, match=match) as caught:
        found = read_attributes(file, NAMES, all_names=ALL)
    assert [str(w.message) for w in caught] == [f"{file}: {note}" for note in found.notes]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert list(found.columns) == ["a"]


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("", "expected a header, image and attributes; the file is empty"),
        ("\n , \n", "the file is empty"),
        (FULL, "expected a header, got a line about the image 'test/angry/im0.png'"),
        ("image\nrow 17\n", "at least one attribute, .* got the column 'image' only"),
        ("image,a,,b\n", "a name for every column, column 3 has none"),
        ("image,a,b, a\n", "different column names, got 'a' twice"),
        ("image,a\n\nrow 17,1\nim9.png\n", "line 4: expected 2 cells, got 1"),
        ("image,a\nrow 17,1,\n", "line 2: expected 2 cells, got 3"),
        ("image,a\n,1\n", "line 2: expected an image's name in the first column"),
        ('image,a\nrow 17,"1\n2,3\n', r"line 3: not CSV \(unexpected end of data\)"),
        (
            "image,a,b\nangry/im0.png,1,\nrow 17,,\ntest/angry/im0.png,1,2\n",
            "lines 2 and 4 state different things about 'test/angry/im0.png'",
        ),
        (
            "image,a\nx.png,1\nim9.png,2\nim0.png,3\n",
            r"measured images \('test/angry/im0.png', .*\), got 1 about unknown images \('x.png'\)"
            r", 1 with a name that fits several \('im0.png'\), 1 about images of other splits",
        ),
        ("image,a\n", "got no rows"),
        ("image,a,b\nrow 17, ,\n", "every attribute is empty for all measured images"),
    ],
)
def test_errors_of_a_table(tmp_path: Path, table: str, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        read(tmp_path, table)
    assert str(caught.value).startswith(f"{tmp_path / 'people.csv'}: ")
    assert "\n" not in str(caught.value)


def test_an_id_is_no_attribute(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(101)]
    table = "image,person\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names))
    with pytest.raises(DataError, match="at most 100 different values of 'person', got 101: an id"):
        read(tmp_path, table, names)
    found = read(tmp_path, table.removesuffix("100.png,100\n"), names[:100])
    assert len(set(found.columns["person"])) == 100


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"none.csv: cannot be read: No such file"):
        read_attributes(tmp_path / "none.csv", NAMES)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_attributes(tmp_path, NAMES)
    with pytest.raises(DataError, match="cannot be read: embedded null byte"):
        read_attributes("a\0b", NAMES)
    for encoding in ("latin-1", "utf-16", "utf-16-le"):
        file = write(tmp_path, "image,größe\nrow 17,1\n", encoding)
        with pytest.raises(DataError, match="expected UTF-8 text; save the table as CSV in UTF-8"):
            read_attributes(file, NAMES)
    monkeypatch.setattr(attributes_module, "MAX_BYTES", 2 * 2**20)
    write(tmp_path, "x" * (2**21 + 1))
    with pytest.raises(DataError, match="at most 2 MiB, this file is larger"):
        read_attributes(tmp_path / "people.csv", NAMES)


# Comparing. The arrays below are blocks of images, (group, true class, predicted class, number).

CLASSES = ("angry", "happy", "sad")
QUICK: dict[str, int] = {"resamples": 199, "bootstrap": 50}
Array = npt.NDArray[np.int64]


def blocks(*cells: tuple[str | None, int, int, int]) -> tuple[Attributes, Array, Array]:
    group = [name for name, *_, n in cells for _ in range(n)]
    true = [true for _, true, _, n in cells for _ in range(n)]
    said = [said for _, _, said, n in cells for _ in range(n)]
    return Attributes(columns={"a": tuple(group)}), np.array(true), np.array(said)


def random_people(
    seed: int, n: int = 400, groups: Iterable[str | None] = ("f", "m"), accuracy: float = 0.6
) -> tuple[Attributes, Array, Array]:
    rng = np.random.default_rng(seed)
    true = rng.integers(3, size=n)
    said = np.where(rng.random(n) < accuracy, true, (true + rng.integers(1, 3, size=n)) % 3)
    column = tuple(rng.choice(np.array(list(groups), object), size=n).tolist())
    return Attributes(columns={"a": column}), true, said


def only(found: Subgroups) -> GroupComparison:
    (comparison,) = found.comparisons
    return comparison


def test_figures_of_groups_are_scikit_learns() -> None:
    attributes, true, said = random_people(0, groups=("f", "m", "x", None))
    found = compare_groups(attributes, true, said, [*CLASSES, "fear"], bootstrap=10, resamples=9)
    assert [group.values for group in only(found).groups] == [("f",), ("m",), ("x",)]
    for group in only(found).groups:
        mask = np.array(attributes.columns["a"]) == group.name
        t, s = true[mask], said[mask]
        assert group.images == mask.sum()
        assert group.correct == (t == s).sum()
        assert group.accuracy == pytest.approx((t == s).mean())
        assert group.macro_f1 == pytest.approx(f1_score(t, s, average="macro"))
        recall = recall_score(t, s, average=None)
        assert list(group.recall) == [*CLASSES, "fear"]
        assert list(group.recall.values())[:3] == pytest.approx(recall.tolist())
        assert group.recall["fear"] is None
        assert list(group.support.values()) == [*np.bincount(t), 0]
    assert found.stated == {"a": sum(group.images for group in only(found).groups)}
    assert found.images == 400


def test_macro_f1_is_over_the_classes_that_occur() -> None:
    # "happy" is predicted once and never true: it counts, with 0. "sad" does not occur.
    # F1 of angry: 2 * 3 / (4 + 3); the mean of that and 0.
    (group,) = only(compare_groups(*blocks(("f", 0, 0, 3), ("f", 0, 1, 1)), CLASSES)).groups
    assert group.macro_f1 == pytest.approx(3 / 7)
    assert group.recall == {"angry": 3 / 4, "happy": None, "sad": None}
    assert group.support == {"angry": 4, "happy": 0, "sad": 0}


def test_gaps_by_hand() -> None:
    # Two classes of 50 images a group, and overall recalls of 70 % and 30 %: 50 of 100 expected.
    comparison = only(
        compare_groups(
            *blocks(
                *(("f", 0, 0, 40), ("f", 0, 1, 10), ("f", 1, 1, 20), ("f", 1, 0, 30)),
                *(("m", 0, 0, 30), ("m", 0, 1, 20), ("m", 1, 1, 10), ("m", 1, 0, 40)),
            ),
            CLASSES,
        )
    )
    assert comparison.gap is not None
    assert (comparison.gap.low, comparison.gap.high) == ("m", "f")
    assert (comparison.gap.low_value, comparison.gap.high_value) == (0.4, 0.6)
    assert comparison.gap.size == pytest.approx(0.2)
    assert comparison.ratio == pytest.approx(2 / 3)
    assert comparison.standardised_gap == pytest.approx(0.2)
    # F1: f 2 * 40 / (50 + 70) and 2 * 20 / (50 + 30); m 2 * 30 / (50 + 70) and 2 * 10 / (50 + 30).
    assert comparison.macro_f1_gap is not None
    assert comparison.macro_f1_gap.low_value == pytest.approx(3 / 8)
    assert comparison.macro_f1_gap.high_value == pytest.approx(7 / 12)
    assert comparison.recall_gap is not None
    assert comparison.recall_gap.size == pytest.approx(0.2)
    assert comparison.recall_gap.class_name == "angry"
    assert (comparison.stated, comparison.compared) == (200, 200)


def test_recall_is_compared_where_a_group_has_enough_of_the_class() -> None:
    cells = [("f", 0, 0, 30), ("m", 0, 0, 30), ("f", 1, 1, 30), ("m", 1, 0, 29)]
    assert (gap := only(compare_groups(*blocks(*cells), CLASSES)).recall_gap) is not None
    assert (gap.class_name, gap.size) == ("angry", 0)
    assert (gap.low, gap.high) == ("f", "m")
    assert (
        gap := only(compare_groups(*blocks(*cells), CLASSES, smallest=29)).recall_gap
    ) is not None
    assert (gap.class_name, gap.size, gap.low, gap.high) == ("happy", 1, "m", "f")
    assert only(compare_groups(*blocks(*cells), CLASSES, smallest=31)).recall_gap is None


def test_small_groups_are_shown_and_left_out() -> None:
    cells = [("f", 0, 0, 20), ("f", 0, 1, 20), ("m", 0, 0, 15), ("m", 0, 1, 15)]
    without = only(compare_groups(*blocks(*cells, (None, 0, 0, 50)), CLASSES))
    found = compare_groups(*blocks(*cells, ("x", 0, 1, 29), (None, 0, 0, 50)), CLASSES)
    with_small = only(found)
    assert [group.small for group in with_small.groups] == [False, False, True]
    assert with_small.groups[2].accuracy_interval[1] > 0
    assert (with_small.stated, with_small.compared) == (99, 70)
    for name in ("gap", "ratio", "macro_f1_gap", "p_value", "p_value_same_classes"):
        assert getattr(with_small, name) == getattr(without, name)
    assert with_small.p_value == 1
    assert re.search(r"^  x \* +29 ", text(found), re.MULTILINE)
    assert "\n\n* fewer than 30 images: left out of gaps" in text(found)


def test_fewer_than_two_groups() -> None:
    found = compare_groups(*blocks(("f", 0, 0, 40), ("m", 0, 1, 29)), CLASSES)
    comparison = only(found)
    for name in (
        *("gap", "ratio", "macro_f1_gap", "recall_gap", "standardised_gap", "p_value"),
        *("p_corrected", "p_value_same_classes", "p_corrected_same_classes"),
    ):
        assert getattr(comparison, name) is None
    assert found.tested == 0
    assert comparison.notes == ("fewer than two groups of at least 30 images: nothing to compare",)
    assert comparison.notes[0] in text(found)


def test_nothing_correct() -> None:
    comparison = only(compare_groups(*blocks(("f", 0, 1, 40), ("m", 0, 2, 40)), CLASSES))
    assert (comparison.ratio, comparison.p_value, comparison.p_value_same_classes) == (None, 1, 1)
    assert ", ratio" not in text(compare_groups(*blocks(("f", 0, 1, 40), ("m", 0, 2, 40)), CLASSES))


# Intervals.


def test_intervals_are_those_of_resampled_images() -> None:
    attributes, true, said = random_people(1, n=150, groups=["f"])
    (group,) = only(compare_groups(attributes, true, said, CLASSES, bootstrap=5000)).groups
    rows = np.random.default_rng(2).integers(150, size=(5000, 150))
    t, s = true[rows], said[rows]
    accuracies = (t == s).mean(1)
    scores = np.mean(
        [2 * ((t == k) & (s == k)).sum(1) / ((t == k).sum(1) + (s == k).sum(1)) for k in range(3)],
        axis=0,
    )
    assert scores[0] == pytest.approx(f1_score(t[0], s[0], average="macro"))
    quantiles = [0.025, 0.975]
    assert group.accuracy_interval == pytest.approx(np.quantile(accuracies, quantiles), abs=0.01)
    assert group.macro_f1_interval == pytest.approx(np.quantile(scores, quantiles), abs=0.01)


def test_intervals_cover_the_truth() -> None:
    covered = 0
    for seed in range(200):
        people = random_people(seed, n=200, groups=["f"], accuracy=0.7)
        (group,) = only(compare_groups(*people, CLASSES, bootstrap=300)).groups
        low, high = group.accuracy_interval
        covered += low <= 0.7 <= high
    assert 0.90 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    ("cell", "expected"), [(("f", 0, 0, 10), (0.7225, 1)), (("f", 0, 1, 10), (0, 0.2775))]
)
def test_an_interval_where_all_resamples_are_alike(
    cell: tuple[str, int, int, int], expected: tuple[float, float]
) -> None:
    # Wilson's with nothing missed: n / (n + z^2) = 10 / 13.8415.
    (group,) = only(compare_groups(*blocks(cell), CLASSES)).groups
    assert group.accuracy_interval == pytest.approx(expected, abs=1e-4)
    assert group.macro_f1_interval is None


# Tests of the gap.


def test_two_groups_of_one_size_are_fishers_exact_test() -> None:
    cells = [("f", 0, 0, 40), ("f", 0, 1, 20), ("m", 0, 0, 48), ("m", 0, 1, 12)]
    comparison = only(compare_groups(*blocks(*cells), CLASSES))
    expected = stats.fisher_exact([[40, 20], [48, 12]]).pvalue
    assert comparison.p_value == pytest.approx(expected, abs=0.015)
    assert comparison.p_value_same_classes == pytest.approx(expected, abs=0.015)


def test_groups_of_several_sizes_are_a_permutation_of_images() -> None:
    numbers = {"f": (24, 16), "m": (45, 15), "x": (18, 14)}
    comparison = only(
        compare_groups(
            *blocks(*((g, 0, said, n) for g, of in numbers.items() for said, n in enumerate(of))),
            CLASSES,
        )
    )
    expected = stats.permutation_test(
        [np.repeat([1.0, 0.0], of) for of in numbers.values()],
        lambda *samples, axis: np.ptp([sample.mean(axis) for sample in samples], axis=0),
        alternative="greater",
        n_resamples=4999,
        vectorized=True,
        rng=np.random.default_rng(0),
    ).pvalue
    assert 0.05 < expected < 0.5
    assert comparison.p_value == pytest.approx(expected, abs=0.025)


def test_within_classes_is_a_permutation_of_images() -> None:
    attributes, true, said = random_people(18, n=150, groups=("f", "m", "x"))
    tags = np.unique(np.array(attributes.columns["a"]), return_inverse=True)[1]
    correct = true == said
    excess = correct - np.array([correct[true == k].mean() for k in range(3)])[true]

    def largest_gap(tags: Array) -> float:
        return float(np.ptp([excess[tags == g].mean() for g in range(3)]))

    observed = largest_gap(tags)
    rng = np.random.default_rng(0)
    count = 0
    for _ in range(2000):
        shuffled = tags.copy()
        for k in range(3):
            shuffled[true == k] = rng.permutation(tags[true == k])
        count += largest_gap(shuffled) >= observed - 1e-12
    comparison = only(compare_groups(attributes, true, said, CLASSES))
    assert comparison.standardised_gap == pytest.approx(observed)
    assert 0.05 < count / 2000 < 0.8
    assert comparison.p_value_same_classes == pytest.approx(count / 2000, abs=0.035)


def test_a_real_gap_is_found() -> None:
    cells = [("f", 0, 0, 100), ("f", 0, 1, 100), ("m", 0, 0, 150), ("m", 0, 1, 50)]
    comparison = only(compare_groups(*blocks(*cells), CLASSES, resamples=999))
    assert comparison.p_value == 1 / 1000
    assert comparison.p_value_same_classes == 1 / 1000


def test_without_a_gap_five_of_a_hundred_are_below_five_percent() -> None:
    p_values = []
    for seed in range(200):
        people = random_people(seed, groups=("f", "m", "x"))
        comparison = only(compare_groups(*people, CLASSES, seed=seed, resamples=99, bootstrap=1))
        p_values.append([comparison.p_value, comparison.p_value_same_classes])
    below = (np.array(p_values) <= 0.05).mean(0)
    assert (below >= 0.02).all()
    assert (below <= 0.085).all()
    assert np.array(p_values).mean(0) == pytest.approx([0.5, 0.5], abs=0.06)


def test_a_gap_that_only_comes_from_the_mixture_of_classes() -> None:
    # Recall is 90 % and 50 % in both groups; one has more of the difficult class.
    comparison = only(
        compare_groups(
            *blocks(
                *(("f", 0, 0, 144), ("f", 0, 1, 16), ("f", 1, 1, 20), ("f", 1, 0, 20)),
                *(("m", 0, 0, 36), ("m", 0, 1, 4), ("m", 1, 1, 80), ("m", 1, 0, 80)),
            ),
            CLASSES,
        )
    )
    assert comparison.gap is not None
    assert comparison.gap.size == pytest.approx(0.24)
    assert comparison.p_value is not None
    assert comparison.p_value < 0.001
    assert comparison.standardised_gap == pytest.approx(0, abs=1e-12)
    assert comparison.p_value_same_classes == 1


# Pairs, correction, order, forms.


def people() -> tuple[Attributes, Array, Array]:
    attributes, true, said = random_people(7, n=300, groups=("20-39", "40-59", None))
    rng = np.random.default_rng(8)
    correct = true == said
    columns = {
        "gender": tuple(rng.choice(["female", "male"], size=300).tolist()),
        "age_group": attributes.columns["a"],
        "glasses": tuple("yes" if r else "no" for r in rng.random(300) < 0.2 + 0.4 * correct),
    }
    return Attributes(columns=columns, notes=("a note",)), true, said


def test_pairs() -> None:
    attributes, true, said = people()
    found = compare_groups(attributes, true, said, CLASSES, **QUICK)
    assert [comparison.attributes for comparison in found.comparisons] == [
        *(("age_group",), ("gender",), ("glasses",)),
        *(("age_group", "gender"), ("age_group", "glasses"), ("gender", "glasses")),
    ]
    pair = found.comparisons[3]
    assert [group.name for group in pair.groups] == [
        *("20-39, female", "20-39, male", "40-59, female", "40-59, male")
    ]
    gender, age = (np.array(attributes.columns[name]) for name in ("gender", "age_group"))
    for group in pair.groups:
        mask = (age == group.values[0]) & (gender == group.values[1])
        assert group.images == mask.sum()
        assert group.correct == (true == said)[mask].sum()
    assert pair.stated == found.stated["age_group"] == sum(age != np.array(None))
    assert found.tested == 6


def test_a_combination_without_images_is_no_group() -> None:
    attributes = Attributes(columns={"a": ("x", "x", "y", None), "b": ("1", "2", "2", "1")})
    found = compare_groups(attributes, [0, 0, 0, 0], [0, 0, 0, 0], CLASSES)
    assert [group.name for group in found.comparisons[2].groups] == ["x, 1", "x, 2", "y, 2"]


def test_holms_correction_by_hand() -> None:
    # a differs and b does not; c has one group. So a, "a, b" and "a, c" have p-values of 1 / 1000,
    # b and "b, c" of 1: 5, 4 and 3 times the least, none below the one before it.
    columns: dict[str, tuple[str | None, ...]] = {
        "a": ("f",) * 200 + ("m",) * 200,
        "b": ("x", "y") * 200,
        "c": ("one",) * 400,
    }
    said = np.array([0] * 100 + [1] * 100 + [0] * 160 + [1] * 40)
    found = compare_groups(
        Attributes(columns=columns), np.zeros(400, int), said, CLASSES, resamples=999
    )
    assert {comparison.name: comparison.p_corrected for comparison in found.comparisons} == {
        "a": 5 / 1000,
        "b": 1,
        "c": None,
        "a, b": 5 / 1000,
        "a, c": 5 / 1000,
        "b, c": 1,
    }
    for comparison in found.comparisons:
        assert comparison.p_corrected_same_classes == comparison.p_corrected
    assert found.tested == 5


def test_equal_arguments_give_equal_results_in_any_order() -> None:
    attributes, true, said = people()
    found = compare_groups(attributes, true, said, CLASSES, **QUICK)
    assert compare_groups(attributes, true, said, CLASSES, **QUICK) == found
    backwards = dataclasses.replace(
        attributes, columns=dict(reversed(list(attributes.columns.items())))
    )
    assert compare_groups(backwards, true, said, CLASSES, **QUICK) == found
    alone = dataclasses.replace(attributes, columns={"gender": attributes.columns["gender"]})
    gender = only(compare_groups(alone, true, said, CLASSES, **QUICK))
    assert (gender.groups, gender.p_value) == (
        found.comparisons[1].groups,
        found.comparisons[1].p_value,
    )
    order = np.random.default_rng(0).permutation(len(true))
    columns = {k: tuple(v[i] for i in order) for k, v in attributes.columns.items()}
    shuffled = dataclasses.replace(attributes, columns=columns)
    assert compare_groups(shuffled, true[order], said[order], CLASSES, **QUICK) == found
    other = compare_groups(attributes, true, said, CLASSES, **QUICK, seed=1)
    assert other.comparisons[2].p_value != found.comparisons[1].p_value
    assert other.comparisons[0].groups != found.comparisons[0].groups


def test_any_integers_will_do() -> None:
    attributes, true, said = people()
    found = compare_groups(attributes, true.tolist(), said.astype(np.uint64), CLASSES, **QUICK)
    assert found == compare_groups(attributes, true, said, CLASSES, **QUICK)


def test_json() -> None:
    attributes, true, said = people()
    found = compare_groups(attributes, true, said, [*CLASSES, "fear"], smallest=60, **QUICK)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["notes"] == ["a note"]
    assert document["stated"]["gender"] == 300
    assert document["comparisons"][3]["gap"] is None
    assert document["comparisons"][1]["groups"][0]["values"] == ["female"]
    assert document["comparisons"][1]["groups"][0]["recall"]["fear"] is None


def test_the_text() -> None:
    attributes, true, said = blocks(
        *(("female", 0, 0, 120), ("female", 0, 1, 80), ("male", 0, 0, 150), ("male", 0, 1, 50)),
        *(("x", 0, 0, 3), (None, 0, 0, 7)),
    )
    lines = text(compare_groups(attributes, true, said, CLASSES)).splitlines()
    assert lines[0] == "a: stated for 403 of 410 images"
    assert lines[1] == "  group   images  accuracy (95 % interval)  macro F1 (95 % interval)"
    # F1 of angry 2 * 120 / (200 + 120), of happy 0
    assert re.fullmatch(
        r"  female     200  60\.0 % \(5\d\.\d to 6\d\.\d\)     0\.375 \(0\.3\d\d to 0\.\d{3}\)",
        lines[2],
    )
    assert lines[4] == "  x *          3  100.0 % (43.9 to 100.0)   1.000"
    assert [line.split() for line in lines[5:9]] == [
        ["recall", *CLASSES],
        ["female", "60.0", *"-" * (len(CLASSES) - 1)],
        ["male", "75.0", *"-" * (len(CLASSES) - 1)],
        ["x", "*", "100.0", *"-" * (len(CLASSES) - 1)],
    ]
    assert re.fullmatch(
        r"  largest gap 15\.0 points \(female 60\.0 %, male 75\.0 %\), ratio 0\.80, p 0\.00\d+;",
        lines[9],
    )
    assert re.fullmatch(
        r"  with the same mixture of expressions 15\.0 points, p 0\.00\d+", lines[10]
    )
    assert lines[11] == "  macro F1: gap 0.054 (female 0.375, male 0.429)"
    assert (
        lines[12]
        == "  recall: largest gap 15.0 points (female 60.0 %, male 75.0 %), angry (not tested)"
    )
    assert lines[13:] == ["", "* fewer than 30 images: left out of gaps, ratios and p-values"]


def test_the_text_of_pairs() -> None:
    shown = text(compare_groups(*people(), CLASSES, bootstrap=50))
    assert len(shown.split("\n\n")) == 6
    assert "age_group, gender: stated for" in shown
    assert re.search(r"p 0\.0\d+ \(0\.\d+ corrected for 6 comparisons\);\n  with the same", shown)
    assert re.search(r"points \(\d0-\d9, \w+ \d+\.\d %; \d0-\d9, \w+ \d+\.\d %\)", shown)


def test_a_name_cannot_break_the_table() -> None:
    shown = text(compare_groups(*blocks(("a\nb\x1b", 0, 0, 3)), CLASSES))
    assert "  a\\nb\\x1b *       3" in shown


@pytest.mark.parametrize(
    ("labels", "predicted", "options", "match"),
    [
        ([0, 1], [0, 1, 2], {}, "as many predictions as labels, got 3 and 2"),
        ([0, 1, 1], [0, 1, 2], {}, "expected 3 values of 'a', got 2"),
        ([0.0, 1.0], [0, 1], {}, r"expected int \(N,\) for 'labels', got float64 \(2,\)"),
        ([0, 1], [[0, 1]], {}, r"expected int \(N,\) for 'predicted', got int64 \(1, 2\)"),
        ([0, 3], [0, 1], {}, r"expected 'labels' in \[0, 3\), got 0 to 3"),
        ([0, 1], [0, 1], {"seed": -1}, "expected at least 0 for 'seed', got -1"),
        ([0, 1], [0, 1], {"resamples": 0}, "expected at least 1 for 'resamples', got 0"),
        ([0, 1], [0, 1], {"bootstrap": 0}, "expected at least 1 for 'bootstrap', got 0"),
        ([0, 1], [0, 1], {"smallest": 0}, "expected at least 1 for 'smallest', got 0"),
    ],
)
def test_arguments_that_do_not_fit(
    labels: list, predicted: list, options: dict[str, int], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        compare_groups(Attributes(columns={"a": ("f", "m")}), labels, predicted, CLASSES, **options)


def test_too_many_comparisons() -> None:
    columns: dict[str, tuple[str | None, ...]] = {f"a{i}": ("f",) for i in range(20)}
    with pytest.raises(
        DataError, match="at most 200 comparisons, 20 attributes and their 190 pairs make 210: lea"
    ):
        compare_groups(Attributes(columns=columns), [0], [0], CLASSES)
    del columns["a0"]
    assert len(compare_groups(Attributes(columns=columns), [0], [0], CLASSES).comparisons) == 190
