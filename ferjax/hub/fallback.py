"""What the cache has, where a hub does not give what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ferjax.errors import HubError, warn_caller
from ferjax.hub.address import Address


def cached_instead(
    address: Address, cached: Callable[[str], Path], why: str, error: Exception
) -> Path:
    """Return the path of the weights in the cache.

    Args:
        address: what is asked for.
        cached: returns the path, given why the cache must have it, or raises a HubError.
        why: the hub does not give it.
        error: by which that showed.

    Raises:
        HubError: the cache has none.

    Warns:
        UserWarning: it is used.
    """
    try:
        path = cached(why)
    except HubError:
        raise HubError(address, why) from error
    warn_caller(f"{address}: {why}; the copy in the cache is used, {path}", UserWarning)
    return path
