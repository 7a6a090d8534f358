"""How a csv of pixels is written: its encoding, separator, header, and what its columns are.

fer2013.csv circulates as it was published, as spreadsheets and pandas save it, and with columns by
other names; people write their own in the same way. The first two lines say which form it is.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from operator import itemgetter
from typing import IO, Final

from ferjax.data import split_names
from ferjax.data.class_names import emotion_of
from ferjax.errors import DataError, printable
from ferjax.image_files import natural

MAX_LINE: Final = 2**20  # characters

DELIMITERS: Final = ",;\t|"
# In lower case, without spaces and signs; the first that is there counts.
LABELS: Final = (
    "emotion emotions label labels class classes target targets expression emotionlabel labelid "
    "classid cls emotionid emotionclass facialexpression emotionname labelname classname category "
    "sentiment mood y"
).split()
USAGES: Final = "usage split subset partition set datasplit datasetsplit usagetype phase".split()
PIXELS: Final = "pixels pixel pixelvalues pixelsvalues imagepixels imgpixels pixeldata".split()
# Pixels only where the first row has them: file names have such headers too.
PERHAPS_PIXELS: Final = (
    "image images img imgs imagedata imgdata imagebytes imgbytes jpg png data face faces features x"
).split()
_VOTES: Final = frozenset("neutral happiness surprise sadness anger".split())
_NUMBERED: Final = re.compile(r"([^\W\d_]*)[\s_.-]*[0-9]+(?:[\s_.x-]+[0-9]+)?")
_NUMBERS: Final = re.compile(r"[\s\[(]*+[0-9.]++(?:[\s,;\[\]()]++[0-9.][0-9.e+-]*+){3}")
SEPARATOR: Final = re.compile(r'"?sep=.?"?\s*', re.IGNORECASE)  # Excel's own first line
_MOST_DIGITS: Final = 9
_EXPECTED: Final = "expected columns such as those of fer2013.csv, emotion, pixels and Usage"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a table is written.

    Attributes:
        encoding: a codec of Python's.
        delimiter: what is between two columns.
        header: the names of the columns; None without such a line.
        label, usage: which columns they are; usage may be None.
        pixels: the column of all pixels, or the columns of one each, in their order.
    """

    encoding: str
    delimiter: str
    header: tuple[str, ...] | None
    label: int
    usage: int | None
    pixels: tuple[int, ...]

    @cached_property
    def label_name(self) -> str:
        """What the column of labels is called, for messages."""
        name = self.header[self.label].strip() if self.header else ""
        return printable(name, 40) or "emotion"

    @cached_property
    def columns(self) -> int:
        """How many fields a row has at least."""
        return 1 + max(self.label, *self.pixels, self.usage or 0)

    @cached_property
    def pixels_of(self) -> Callable[[Sequence[str]], str | tuple[str, ...]]:
        """The field of all pixels among those of a row, or the fields of one each."""
        return itemgetter(*self.pixels)


def plain(name: str) -> str:
    """Return a column's name as `LABELS` and its like have it: small letters and digits alone."""
    return re.sub(r"[\W_]+", "", name).lower()


def first_of(names: Sequence[str], header: Sequence[str]) -> int | None:
    """Return where the first of `names` that a header has stands in it, None where it has none.

    >>> first_of(["label", "class"], ["file", "class"])
    1
    """
    return next((header.index(name) for name in names if name in header), None)


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text that starts with `head`.

    >>> encoding_of("emotion".encode("utf-16-be"))
    'utf-16-be'
    """
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if head.startswith(mark):
            return encoding
    start = head[: len(head) // 2 * 2][:64]
    for odd, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(start) > 7 and not any(start[odd::2]) and all(start[1 - odd :: 2]):
            return encoding
    return "utf-8"


@contextmanager
def text_of(stream: io.BufferedReader) -> Iterator[tuple[io.TextIOWrapper, str]]:
    """Yield a stream's text, line ends as "\\n" whichever they are, and its encoding.

    The stream stays open.
    """
    encoding = encoding_of(stream.peek(64)[:64])
    # Bytes that are no text make a field wrong, not the file unreadable.
    text = io.TextIOWrapper(stream, encoding, errors="replace")
    try:
        yield text, encoding
    finally:
        text.detach()


def line_of(text: IO[str]) -> str:
    """Return the next line with its end, "" after the last. Raises DataError if it is too long."""
    line = text.readline(MAX_LINE)
    if len(line) == MAX_LINE:
        raise DataError(f"a line of more than {MAX_LINE:,} characters; is this fer2013.csv?")
    return line


def fields_of(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line or record; quotes around one may hold anything.

    >>> fields_of('3, "[1, 2]",say ""no""', ",")
    ['3', '[1, 2]', 'say ""no""']
    """
    if '"' not in line:
        return line.split(delimiter)
    d = re.escape(delimiter)
    pattern = rf'(?:^|{d})(?:[^\S{d}]*"([^"]*(?:""[^"]*)*)"[^{d}]*|([^{d}]*))'
    matches = re.finditer(pattern, line)
    return [m[2] if m[1] is None else m[1].replace('""', '"') for m in matches]


def recognized(stream: io.BufferedReader) -> Dialect | None:
    """Return how a table of pixels is written; None for what is none.

    Raises:
        DataError: it is a table that lacks something.
    """
    with text_of(stream) as (text, encoding):
        first = ""
        while not first.strip() or SEPARATOR.fullmatch(first):
            first = line_of(text)
            if not first:
                return None
        second = line_of(text)
        if second.count('"') % 2:  # a field over several lines
            second += text.read(2**16)
    problem: DataError | None = None
    for delimiter in DELIMITERS:
        names, row = (fields_of(line.rstrip("\n"), delimiter) for line in (first, second))
        if len(names) < 2:
            continue
        try:
            columns = _by_header(names, row) or _by_fields(names)
        except DataError as error:
            problem = problem or error
            continue
        if columns:
            label, usage, pixels, has_header = columns
            return Dialect(
                encoding=encoding,
                delimiter=delimiter,
                header=tuple(names) if has_header else None,
                label=label,
                usage=usage,
                pixels=pixels,
            )
    if problem:
        raise problem
    return None


_Columns = tuple[int, int | None, tuple[int, ...], bool]


def _by_header(names: Sequence[str], row: Sequence[str]) -> _Columns | None:
    """Return the columns by their names, with the first row under them."""
    plain_names = [plain(name) for name in names]
    label, usage = first_of(LABELS, plain_names), first_of(USAGES, plain_names)
    perhaps = [i for i, name in enumerate(plain_names) if name in PERHAPS_PIXELS]
    full = [i for i in perhaps if i < len(row) and _NUMBERS.match(row[i])]
    named = first_of(PIXELS, plain_names)
    pixels = tuple(full[:1] if named is None else [named])
    numbered = () if pixels else _numbered_columns(names, {label, usage})
    if numbered and isqrt(len(numbered)) ** 2 != len(numbered):
        if label is None and len(numbered) == len(names):
            raise DataError(
                f"{len(names):,} columns of numbers, of which none is called label; {_EXPECTED}"
            )
        raise DataError(
            f"{len(numbered):,} columns of pixels, {printable(names[numbered[0]], 40)} to "
            f"{printable(names[numbered[-1]], 40)}, which are no square image"
        )
    pixels = pixels or numbered
    if label is not None and pixels:
        return label, usage, pixels, True
    if set(plain_names) >= _VOTES:
        raise DataError(
            "the votes of FER+ (fer2013new.csv), which hold no pixels; expected fer2013.csv, "
            "and the votes by --votes (votes=)"
        )
    shown = ", ".join(printable(name.strip(), 20) for name in names[:6])
    if named is not None:
        raise DataError(f"columns {shown}, and no labels among them; {_EXPECTED}")
    if label is not None and (
        perhaps or "usage" in plain_names or plain_names[label] in LABELS[:2]
    ):
        raise DataError(
            f"columns {shown}, and no pixels among them; {_EXPECTED}, or images in "
            "<split>/<class>/ folders"
        )
    return None


def _numbered_columns(names: Sequence[str], but: set[int | None]) -> tuple[int, ...]:
    """Return the columns that names such as pixel0, pixel1 put in order, four at least."""
    by_stem: defaultdict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        match = _NUMBERED.fullmatch(name.strip())
        if match and i not in but:
            by_stem[match[1].lower()].append(i)
    if "" in by_stem:  # numbers alone are names if they count
        texts = [names[i].strip() for i in by_stem[""]]
        # Python refuses to read thousands of digits, and no column has such a number.
        values = sorted(int(text[:_MOST_DIGITS]) for text in texts if text.isdecimal())
        if values and values != list(range(values[0], values[0] + len(values))):
            by_stem.pop("")
    columns = max(by_stem.values(), key=len, default=[])
    # Tables sorted by the names' letters have pixel10 before pixel2.
    return tuple(sorted(columns, key=lambda i: natural(names[i]))) if len(columns) > 3 else ()


def _by_fields(fields: Sequence[str]) -> _Columns | None:
    """Return the columns of a table without a header, by what its first row holds."""
    pixels = [i for i, field in enumerate(fields) if _NUMBERS.match(field)]
    usage = next((i for i, field in enumerate(fields) if split_names.split_of(field)), None)
    if len(pixels) == 1:
        perhaps = [i for i in range(len(fields)) if i not in (pixels[0], usage)]
        labels = [i for i in perhaps if may_be_label(fields[i])]
        if len(labels) == 1:
            return labels[0], usage, tuple(pixels), False
        raise DataError(
            f"no header, and {len(labels)} columns that may be labels; put names above the "
            "columns: emotion, pixels, Usage"
        )
    numbers = [i for i, field in enumerate(fields) if re.fullmatch(r"\s*[0-9.]+\s*", field)]
    named = [i for i, field in enumerate(fields) if emotion_of(field)]
    if len(numbers) > 15 and len(named) == 1 and isqrt(len(numbers)) ** 2 == len(numbers):
        return named[0], usage, tuple(numbers), False
    if len(numbers) > 15 and len(fields) - len(numbers) < 3:
        raise DataError(
            f"{len(fields):,} columns without names; put names above the columns: emotion, pixel0, "
            "pixel1, ..."
        )
    return None


def may_be_label(field: str) -> bool:
    """Whether a field is a small number or an emotion."""
    return bool(re.fullmatch(r"\s*[0-9]{1,2}(\.0*)?\s*", field) or emotion_of(field))
