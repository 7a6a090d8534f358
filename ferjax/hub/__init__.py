"""Weights from Hugging Face's and Kaggle's hubs, through their own libraries and caches.

`address` reads what is given, `choice` says which files of a repository that means, `hugging_face`
and `kaggle` fetch them, and `fallback` takes them from the cache where they cannot be fetched.
Nothing else in ferjax downloads, and only what has such an address.
"""

from __future__ import annotations

import os
from pathlib import Path

from ferjax import digests
from ferjax.errors import HubError
from ferjax.hub.address import HUGGING_FACE, Address, parse

__all__ = ["Address", "fetched", "local", "parse"]


PathLike = str | os.PathLike[str]


def local(source: PathLike) -> PathLike:
    """Return the path of what may be at an address of a hub; all else is returned as it is.

    Raises:
        HubError: it begins as an address and is none, or what is there cannot be had.
    """
    address = parse(source)
    return source if address is None else fetched(address)


def fetched(address: Address) -> Path:
    """Return the path, in the hub's own cache, of the weights at an address.

    What the cache lacks is fetched, with the metadata file beside the weights where there is one.

    Raises:
        HubError: they cannot be had, or have another hash than the address pins.
    """
    if address.hub == HUGGING_FACE:
        from ferjax.hub import hugging_face as hub
    else:
        from ferjax.hub import kaggle as hub  # type: ignore[no-redef]
    from ferjax import metadata  # imports NumPy, which the command line's parser does without

    path: Path = hub.fetched(address)
    if address.sha256 is None:
        return path
    if form := metadata.in_parts(path):
        raise HubError(address, f"a hash is of one file, and these weights are {form}")
    if (digest := digests.sha256(path)) != address.sha256:
        raise HubError(address, f"has another SHA-256, {digest}; it is not used")
    return path
