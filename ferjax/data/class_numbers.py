"""What the numbers mean that datasets have in the place of class names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from ferjax.data.class_names import emotion_of
from ferjax.data.fer2013 import combinations
from ferjax.emotions import EMOTIONS, FER2013_CSV_ORDER, ORDERS, orders_of
from ferjax.errors import DataError, near_misses, printable

# What the numbers of a dataset mean; see `names_of`.
NumberNames: TypeAlias = str | Sequence[str] | Mapping[int, str]

_FROM_ONE: Final = frozenset({"rafdb"})  # orders whose datasets count from 1
NUMBERS: Final = "numbers"  # keeps them as names
_MOST: Final = 20  # classes that a question lists
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,9}(?:\.0*)?", re.ASCII)


def number_of(text: str) -> int | None:
    """Return the number that a label is, if it is one.

    >>> number_of("3.0"), number_of("happy")
    (3, None)
    """
    return int(text.partition(".")[0]) if _NUMBER.fullmatch(text) else None


def question(numbers: Iterable[int], where: str) -> DataError:
    """Return the error that asks what numbers mean."""
    numbers = sorted(set(numbers))
    count = len(numbers)
    orders = "".join(f"{order}, " for order in orders_of(count))
    orders += "or " if orders else ""
    several = f"{numbers[0]} to {numbers[-1]}" if count > 2 else " and ".join(map(str, numbers))
    return DataError(
        f"{where} are numbers, {several}: give their names by --labels (labels=): {orders}"
        f"{count} names in their order, separated by commas; --labels {NUMBERS} keeps them"
    )


def names_of(numbers: Iterable[int], labels: NumberNames) -> dict[int, str]:
    """Return the name of each number that has one by `labels`.

    Args:
        numbers: all that occur.
        labels: one of `ORDERS`; names in the order of the numbers, which start at 0 or 1; such
            names separated by commas, or 1=happy,2=sad; or "numbers".

    Raises:
        DataError: labels cannot be understood, or the first number cannot be told.

    >>> names_of({1, 2}, "calm,tense")
    {1: 'calm', 2: 'tense'}
    """
    numbers = set(numbers)
    if isinstance(labels, Mapping):
        return {int(number): _plain(name) for number, name in labels.items()}
    usual_start = None
    if isinstance(labels, str):
        text = labels.strip()
        if text.lower() == NUMBERS:
            return {number: str(number) for number in numbers}
        if "=" in text:
            return _pairs(text)
        if text.lower() in ORDERS:
            usual_start = int(text.lower() in _FROM_ONE)
        labels = ORDERS.get(text.lower()) or text.split(",")
    names = [_plain(name) for name in labels]
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        shown = printable(",".join(names), 80)
        raise DataError(
            f"expected {', '.join(ORDERS)}, or different names separated by commas, for --labels "
            f"(labels=), got {shown!r}{near_misses(shown.lower(), ORDERS)}"
        )
    start = 0 if 0 in numbers else 1 if len(names) in numbers else usual_start
    if start is None:
        raise DataError(
            f"labels name {len(names)} classes, and neither 0 nor {len(names)} is among the "
            f"numbers {', '.join(map(str, sorted(numbers)[:_MOST]))}: write "
            f"--labels {min(numbers)}={names[0]},..."
        )
    return dict(enumerate(names, start))


def _pairs(text: str) -> dict[int, str]:
    """Return the names in 1=happy,2=sad by their numbers."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(number_of(number.strip()) is not None and name for number, _, name in pairs):
        raise DataError(f"expected 0=name,1=name,... for labels, got {printable(text, 80)!r}")
    return {int(number): _plain(name) for number, _, name in pairs}


def as_text(labels: NumberNames) -> str:
    """Return labels as the command line takes them.

    >>> as_text({1: "happy", 2: "sad"}), as_text(["calm", "tense"]), as_text("rafdb")
    ('1=happy,2=sad', 'calm,tense', 'rafdb')
    """
    if isinstance(labels, str):
        return labels
    if isinstance(labels, Mapping):
        return ",".join(f"{number}={name}" for number, name in labels.items())
    return ",".join(labels)


def _plain(name: str) -> str:
    return emotion_of(name) or name.strip()


def order_by_counts(counts: Mapping[int, int]) -> str | None:
    """Return the order in which numbers 0 to 6 have as many images as FER2013's classes, if any."""
    for order in ("fer2013", "sorted"):
        names = ORDERS[order]
        if set(counts) != set(range(len(names))):
            continue
        by_name = tuple(counts[names.index(name)] for name in EMOTIONS)
        if by_name in combinations().values():
            return order
    return None


def classes_of(
    texts: Sequence[str], labels: NumberNames | None, column: str, *, ask: bool = False
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Return the class of each label of a table, what is wrong with others, and notes.

    Numbers 0 to 6 are fer2013.csv's unless `labels` says other; other numbers have to be said.

    Args:
        texts: the label of each row.
        labels: what numbers mean; see `names_of`.
        column: what the labels are called in the table.
        ask: whether 0 to 6 have to be said too.

    Raises:
        DataError: numbers need `labels`, or names do not.
    """
    counts = Counter(texts)
    numbers = {text: number for text in counts if (number := number_of(text)) is not None}
    words = [text for text in counts if text not in numbers]
    if labels is not None and not numbers and words:
        raise DataError(f"labels are for numbers; {column} has names, such as {words[0][:40]!r}")
    by_number: Counter[int] = Counter()
    for text, number in numbers.items():
        by_number[number] += counts[text]
    if labels is None:
        names, notes = _assumed(by_number, column, ask=ask)
    else:
        names, notes = names_of(by_number, labels), []
    classes = {text: names[number] for text, number in numbers.items() if number in names}
    for text in words:
        name = emotion_of(text)
        if name is not None or not numbers:
            classes[text] = name or text
    expected = f"{min(names)} to {max(names)}" if numbers else ""
    bad = {
        text: f"expected {expected} for {column}, got {text[:40]!r}"
        for text in (*numbers, *words)
        if text not in classes
    }
    return classes, bad, notes


def _assumed(
    counts: Mapping[int, int], column: str, *, ask: bool
) -> tuple[dict[int, str], list[str]]:
    """Return the names of numbers of which nobody says what they mean, and what is to be noted.

    Raises DataError where they may mean anything; see `classes_of`.
    """
    numbers = set(counts)
    order = order_by_counts(counts)
    start = min(numbers, default=0)
    is_count = start in (0, 1) and numbers == set(range(start, start + len(numbers)))
    is_emotion = column.lower() == "emotion"
    is_fer2013 = numbers <= set(range(7)) and (is_emotion or len(numbers) == 7) and not ask
    if not (is_fer2013 or order) and is_count and 1 < len(numbers) <= _MOST:
        raise question(numbers, f"the labels in {column}")
    notes = []
    if order == "sorted":
        notes.append("labels are in the sorted order, by how many images each has")
    elif numbers and not is_emotion and order is None:
        notes.append(
            "labels 0 to 6 are taken in the order of fer2013.csv, "
            f"{', '.join(FER2013_CSV_ORDER)}; --labels (labels=) gives another"
        )
    return dict(enumerate(ORDERS[order or "fer2013"])), notes
