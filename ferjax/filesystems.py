"""File systems of other machines, by addresses: S3, Google Cloud Storage and others.

Arrow opens s3://, gs://, abfs:// and hdfs://, and fsspec others where it has a library for them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from ferjax.errors import FerjaxError, ImageError, first_line, printable
from ferjax.image_files import MAX_FILE_BYTES

_ADDRESS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_ARROW_SCHEMES: Final = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
# Of Google's library, which by default tries for minutes.
_RETRY_LIMIT: Final = "retry_limit_seconds=20"
_STORES: Final = ("s3", "gs", "gcs")  # whose addresses name a bucket, and no server
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]+")
_CONTAINERS: Final = ("abfs", "abfss")  # of which one may stand before an @
_ADDRESSES: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"]+")
_IN_PATHS: Final = "/:@!$&'()*+,;=~%"  # of URIs
_CREDENTIALS: Final = re.compile(
    r"credential|access.?denied|forbidden|unauthori[sz]ed|signature|invalidaccesskey|\b40[13]\b",
    re.IGNORECASE,
)


def is_address(text: str) -> bool:
    """Whether a text is an address such as s3://bucket/photos, not a path.

    >>> is_address("s3://bucket/photos"), is_address("photos"), is_address("C:/photos")
    (True, False, False)
    """
    return _ADDRESS.match(text) is not None


def shown(address: str) -> str:
    """Return an address as it may be printed and stored: without keys and settings.

    >>> shown("s3://key:secret@bucket/photos?region=eu-west-1"), shown("photos?")
    ('s3://bucket/photos', 'photos?')
    """
    if not is_address(address):
        return address
    scheme, _, rest = address.partition("://")
    rest = rest.partition("?")[0]
    owner, slash, path = rest.partition("/")
    if "@" not in owner and "@" in path and _has_key(owner):  # a secret may have a / in it
        owner, slash, path = path.partition("@")[2].partition("/")
    before, _, host = owner.rpartition("@")
    if _has_key(host):
        return f"{scheme}://..."
    if before and ":" not in before and scheme.lower() in _CONTAINERS:
        host = owner
    return printable(f"{scheme}://{host}{slash}{path}")


def _has_key(owner: str) -> bool:
    """Whether what stands where a server or a bucket does has a : and what is no port."""
    return re.search(r":(?!\d*$)", owner.rpartition("]")[2]) is not None


def without_keys(text: str) -> str:
    """Return a text in which each address is as `shown`.

    >>> without_keys("--out=s3://key:secret@bucket/rows")
    '--out=s3://bucket/rows'
    """
    return shown(text) if is_address(text) else _ADDRESSES.sub(lambda m: shown(m[0]), text)


def check_shared(text: str) -> None:
    """Raise for an address of what one process alone sees.

    Raises:
        FerjaxError: it is such an address.
    """
    if is_address(text) and text.lower().startswith("memory:"):
        raise FerjaxError(
            f"{shown(text)}: the memory of one process, which workers do not see; give a folder, "
            "or an address such as s3://"
        )


@dataclass(frozen=True)
class Place:
    """A folder, or a file, and the file system that it is in.

    Attributes:
        filesystem: a `pyarrow.fs.FileSystem`.
        path: in it.
        prefix: what a path in it has before it where it is named.
    """

    filesystem: Any
    path: str
    prefix: str

    def name(self, path: str) -> str:
        """Return what a path of the file system is called."""
        return f"{self.prefix}{path}"


@lru_cache(maxsize=16)
def place_of(text: str) -> Place:
    """Return the place of a path or an address.

    Raises:
        FerjaxError: it cannot be opened, or a library for it is missing.
    """
    try:
        from pyarrow import fs
    except ImportError:
        raise FerjaxError('addresses and Parquet take pyarrow: pip install "ferjax[ray]"') from None
    match = _ADDRESS.match(text)
    if match is None:
        return Place(fs.LocalFileSystem(), os.path.abspath(text), "")
    scheme = match[1].lower()
    try:
        if scheme in _ARROW_SCHEMES:
            filesystem, path = fs.FileSystem.from_uri(_uri(scheme, text[match.end() :]))
        else:
            import fsspec

            inner, path = fsspec.core.url_to_fs(text)
            filesystem = fs.PyFileSystem(fs.FSSpecHandler(inner))
    except Exception as error:  # of any of these libraries
        raise problem(text, error, "opened") from error
    return Place(filesystem, path.rstrip("/"), f"{scheme}://")


def _uri(scheme: str, rest: str) -> str:
    """Return an address as Arrow takes it: what is no part of a URI is escaped, such as spaces."""
    address, mark, settings = rest.partition("?")
    server, slash, path = address.partition("/")
    path = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", path)
    uri = f"{scheme}://{server}{slash}{quote(os.fsencode(path), safe=_IN_PATHS)}{mark}{settings}"
    if scheme in ("gs", "gcs") and "retry_limit" not in settings:
        uri += ("&" if mark else "?") + _RETRY_LIMIT
    return uri


def problem(text: str, error: Exception, done: str) -> FerjaxError:
    """Return what any library's error says of an address; `done` is what failed, "opened"."""
    said = str(error).replace(text, shown(text))
    said = _ADDRESSES.sub(lambda match: shown(match[0]), said).strip()  # as it was handed on
    reason = (said.splitlines() or [type(error).__name__])[0]
    hint = ""
    if _CREDENTIALS.search(f"{type(error).__name__} {error}"):
        hint = "; it takes credentials, as the provider's own programs find them"
    return FerjaxError(f"{shown(text)}: cannot be {done} ({printable(reason, 200)}){hint}")


def fetched(name: str, beside: Place | None = None) -> bytes:
    """Return what a picture holds, up to a byte more than an image file may have.

    Names come from tables, which others may have written: none says which server is asked, as
    `?endpoint_override=` and the host of other addresses do.

    Args:
        name: as `Place.name` gave it.
        beside: the place of the table, whose file system is taken where the bucket is the same.

    Raises:
        ImageError: it cannot be had.
    """
    scheme, _, path = name.partition("://")
    bucket = path.partition("/")[0]
    is_beside = (
        beside is not None
        and beside.prefix == f"{scheme}://"
        and beside.path.partition("/")[0] == bucket
    )
    if not is_beside and not (scheme in _STORES and _BUCKET.fullmatch(bucket)):
        schemes = ", ".join(f"{each}://" for each in _STORES)
        raise ImageError(
            printable(
                f"{name}: not fetched; expected an address of {schemes}, or of the table's own"
            )
        )
    try:
        place = beside if is_beside and beside else place_of(f"{scheme}://{bucket}")
        with place.filesystem.open_input_stream(path) as file:
            return bytes(file.read(MAX_FILE_BYTES + 1))
    except Exception as error:  # of any library's file systems
        raise ImageError(f"{printable(name)}: cannot be read: {first_line(error)}") from error
