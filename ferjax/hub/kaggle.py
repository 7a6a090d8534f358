"""Fetch weights from Kaggle's models by kagglehub, or take them from its cache."""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from ferjax.errors import HubError, causes, first_line
from ferjax.hub import choice
from ferjax.hub.address import Address, offline_by_environment
from ferjax.hub.fallback import cached_instead

_MOST_PAGES: Final = 50  # of names of files
_LOG_IN: Final = "set KAGGLE_API_TOKEN, or have ~/.kaggle/kaggle.json"


def library(address: object) -> Any:
    """Return the module kagglehub.

    Raises:
        HubError: it is not installed.
    """
    try:
        hub = importlib.import_module("kagglehub")
        for part in ("cache", "clients", "config", "exceptions", "handle"):
            importlib.import_module(f"kagglehub.{part}")
    except ImportError:
        raise HubError(address, 'needs kagglehub: pip install "ferjax[hub]"') from None
    return hub


def fetched(address: Address) -> Path:
    """Return the path of the weights in the cache, fetched where they are not.

    What has a version and is in the cache takes no network. Kaggle's library has no setting of its
    own to leave the network alone, so HF_HUB_OFFLINE holds here too.

    Raises:
        HubError: they cannot be had.

    Warns:
        UserWarning: Kaggle does not answer, and the newest version in the cache is used.
    """
    with _on_stderr():
        hub = library(address)
        if offline_by_environment():
            return _cached(hub, address, "HF_HUB_OFFLINE is set")
        if address.revision is not None:
            with contextlib.suppress(HubError):
                return _cached(hub, address, "")
        try:
            return _downloaded(hub, *_looked_up(hub, address))
        except HubError:
            raise
        except Exception as error:  # whatever a library of its own raises
            why = explained(error)
            if address.revision is not None or _status(error) == 404:
                raise HubError(address, why) from error
            return cached_instead(address, partial(_cached, hub, address), why, error)


def _looked_up(hub: Any, address: Address) -> tuple[Address, choice.Choice]:
    """Return the address with all that was left out, and what is to be fetched."""
    types = importlib.import_module("kagglesdk.models.types.model_api_service")
    with hub.clients.build_kaggle_client() as client:
        models = client.models.model_api_client
        if address.repository.count("/") < 3:
            address = _with_variation(hub, address, models, types)
        handle = hub.handle.parse_model_handle(address.repository)
        if address.revision is None:
            request = types.ApiGetModelInstanceRequest()
            _fill(request, handle)
            instance = hub.exceptions.handle_call(lambda: models.get_model_instance(request))
            address = replace(address, revision=str(instance.version_number))
        sizes = _sizes(hub, handle.with_version(int(address.revision or 0)), models, types)
    return address, choice.chosen(address, sizes)


def _with_variation(hub: Any, address: Address, models: Any, types: Any) -> Address:
    """Return the address of the only variation of a model, or of its framework."""
    request = types.ApiGetModelRequest()
    request.owner_slug, request.model_slug, *framework = address.repository.split("/")
    model = hub.exceptions.handle_call(lambda: models.get_model(request))
    enum = importlib.import_module("kagglehub.enum")
    repositories = [
        f"{request.owner_slug}/{request.model_slug}/{enum.enum_to_str(instance.framework)}/"
        f"{instance.slug}"
        for instance in model.instances
        if not framework
        or instance.framework == enum.to_enum(type(instance.framework), framework[0])
    ]
    return replace(address, repository=_one(address, repositories))


def _one(address: Address, repositories: list[str]) -> str:
    if len(repositories) == 1:
        return repositories[0]
    if not repositories:
        raise HubError(address, "no such framework or variation")
    listed = ", ".join(str(replace(address, repository=r, sha256=None)) for r in repositories[:10])
    raise HubError(address, f"{len(repositories)} variations, give one: {listed}")


def _sizes(hub: Any, handle: Any, models: Any, types: Any) -> dict[str, int | None]:
    """Return the paths of a version's files, with their bytes."""
    sizes: dict[str, int | None] = {}
    request = types.ApiListModelInstanceVersionFilesRequest()
    _fill(request, handle)
    request.version_number, request.page_size = handle.version, 200
    for _ in range(_MOST_PAGES):
        page = hub.exceptions.handle_call(
            lambda: models.list_model_instance_version_files(request), handle
        )
        sizes |= {file.name: file.size or None for file in page.files}
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    return sizes


def _fill(request: Any, handle: Any) -> None:
    request.owner_slug, request.model_slug = handle.owner, handle.model
    request.framework, request.instance_slug = handle.framework_enum(), handle.variation


def _downloaded(hub: Any, address: Address, chosen: choice.Choice) -> Path:
    """Fetch file by file: of a whole version the library would unpack an archive."""
    version = f"{address.repository}/{address.revision}"
    if chosen.metadata is not None:  # first, so that whoever has the weights has it
        hub.model_download(version, chosen.metadata)
    paths = {name: Path(hub.model_download(version, name)) for name in chosen.files}
    return paths[chosen.path] if chosen.path else paths[chosen.files[0]].parent


def _cached(hub: Any, address: Address, why: str) -> Path:
    """Return the path of weights that the cache has; `why` says why it must have them.

    Raises:
        HubError: it has not.
    """
    root = Path(hub.config.get_cache_folder()) / "models"
    levels = [*address.repository.split("/"), "*", "*"][:4]
    folders = [folder for folder in sorted(root.glob("/".join(levels))) if folder.is_dir()]
    by_version = [(folder, files) for f in folders for folder, files in _versions(hub, f, address)]
    if not by_version:
        of = "" if address.revision is None else f" in version {address.revision}"
        raise HubError(address, f"not in the cache{of}, and {why}{choice.FETCH}")
    variations = sorted({f.parent.relative_to(root).as_posix() for f, _ in by_version})
    _one(address, variations)
    folder, files = by_version[0]
    chosen = choice.chosen(address, files, f" in the cache ({why})")
    return folder / chosen.path


def _versions(
    hub: Any, folder: Path, address: Address
) -> Iterator[tuple[Path, dict[str, int | None]]]:
    """Yield a variation's versions in the cache, the newest first, with what is whole of each."""
    numbers = [int(f.name) for f in folder.iterdir() if f.name.isdecimal() and f.is_dir()]
    for number in sorted(numbers, reverse=True):
        if address.revision not in (None, str(number)):
            continue
        handle = hub.handle.ModelHandle(*folder.parts[-4:], number)
        place, cache = folder / str(number), hub.cache.Cache()
        files = choice.files_under(place)
        if not cache.load_from_cache(handle):
            files = {name: n for name, n in files.items() if cache.load_from_cache(handle, name)}
        if files:
            yield place, files


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def explained(error: Exception) -> str:
    """Return in one line what the library's error means, and what to do, without the password that
    a proxy's address may hold."""
    return re.sub(r"//[^/\s]*@", "//...@", _meaning(error))


def _meaning(error: Exception) -> str:
    status = _status(error)
    if status == 404:
        return "no such model, variation, version or file"
    if status in (401, 403) or "Unauthenticated" in type(error).__name__:
        return (
            "no such model, or one that is private or asks for consent: give it on its page, and "
            f"{_LOG_IN}"
        )
    if status is not None:
        return f"Kaggle answers with HTTP {status}; try again later"
    if "Corruption" in type(error).__name__:
        return "arrived damaged, with another hash than Kaggle has; try again"
    if "Chunked" in type(error).__name__ or "IncompleteRead" in str(error):
        return "the download broke off; try again"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"cannot be kept in the cache, {error.filename} ({error.strerror})"
    return f"Kaggle cannot be reached ({first_line(causes(error)[-1])})"


@contextlib.contextmanager
def _on_stderr() -> Iterator[None]:
    """Keep what the library says while it works out of stdout, which is for results."""
    handlers = [
        handler
        for handler in logging.getLogger("kagglehub").handlers  # of an earlier import
        if isinstance(handler, logging.StreamHandler)
    ]
    streams = [handler.stream for handler in handlers]
    with contextlib.redirect_stdout(sys.stderr):
        try:
            for handler in handlers:
                handler.stream = sys.stderr
            yield
        finally:
            for handler, stream in zip(handlers, streams):
                handler.stream = stream
