"""JSON from untrusted files: bounded, in any encoding, also where it was encoded twice."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from ferjax import collector
from ferjax.errors import printable
from ferjax.problems import Problem

MOST_CHARACTERS = 4 << 20  # a layer takes about 1,500, and parsed far more memory
MOST_BYTES = 4 * MOST_CHARACTERS  # no character takes more than 4
_MOST_ENCODINGS = 3


def is_json(head: bytes) -> bool:
    """Whether a file that begins so may be a JSON object, or text that holds one.

    >>> [is_json(head) for head in (b'{"a": 1}', " {}".encode("utf-16"), b'"{}"', b"a")]
    [True, True, True, False]
    """
    return re.match(r'["\\\s]*\{', decoded(head)) is not None


def decoded(raw: bytes) -> str:
    """Return the text of UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    >>> [decoded("{}".encode(name)) for name in ("utf-8-sig", "utf-16", "utf-16-be", "utf-32")]
    ['{}', '{}', '{}', '{}']
    """
    encoding = json.detect_encoding(raw)
    width = {"utf-16": 2, "utf-32": 4}.get(encoding[:6], 1)
    # HDF5 drops zeros at the end of text of fixed length.
    padded = raw + bytes(-len(raw) % width)
    return padded.decode(encoding, errors="replace").removeprefix("\ufeff")


def read_json(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """Return the JSON object of a file; errors call it `name`.

    Raises:
        Problem: it cannot be read, is too long or too deep, or no JSON object.
    """
    try:
        if (size := os.stat(path).st_size) > MOST_BYTES:
            raise Problem(f"{size} bytes are more than {MOST_BYTES}")
        with open(path, "rb") as file:
            raw = file.read(MOST_BYTES)
    except OSError as error:
        raise Problem(f"cannot be opened ({error.strerror})") from None
    return parse_json(decoded(raw), name)


def parse_json(text: str, name: str) -> dict[str, Any]:
    """Return a JSON object from untrusted text, also from text that JSON holds as text.

    Raises:
        Problem: it is too long or too deep, or no JSON object.
    """
    if len(text) > MOST_CHARACTERS:
        raise Problem(f"{name}: {len(text)} characters are more than {MOST_CHARACTERS}")
    value = _parsed(text, name)
    for _ in range(_MOST_ENCODINGS - 1):
        if not isinstance(value, str) or not is_json(value.encode(errors="replace")[:512]):
            break
        value = _parsed(value, name)
    if not isinstance(value, dict):
        raise Problem(f"{name}: expected a JSON object, got {type(value).__name__}")
    return value


def _parsed(text: str, name: str) -> Any:
    try:
        with collector.seldom():  # its many lists hold no garbage
            return json.loads(text)
    except RecursionError:
        raise Problem(f"{name}: nested too deeply") from None
    except ValueError as error:  # also integers of more digits than Python converts
        raise Problem(f"{name}: not JSON ({printable(str(error), 100)})") from None
