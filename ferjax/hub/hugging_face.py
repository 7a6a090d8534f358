"""Fetch weights from Hugging Face by huggingface-hub, or take them from its cache."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ferjax import digests, metadata
from ferjax.errors import HubError, causes, first_line, near_misses, printable
from ferjax.hub import choice
from ferjax.hub.address import Address, offline_by_environment
from ferjax.hub.choice import Choice
from ferjax.hub.fallback import cached_instead

LOG_IN = "log in by `hf auth login`, or set HF_TOKEN"


def library(address: object) -> Any:
    """Return the module huggingface_hub, with its telemetry off.

    Raises:
        HubError: it is not installed.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at import
    try:
        hub = importlib.import_module("huggingface_hub")
        for part in ("constants", "errors"):
            importlib.import_module(f"huggingface_hub.{part}")
    except ImportError:
        raise HubError(address, 'needs huggingface-hub: pip install "ferjax[hub]"') from None
    hub.constants.HF_HUB_DISABLE_TELEMETRY = True  # where it was imported before
    return hub


def is_offline(hub: Any) -> bool:
    """Whether the network is to be left alone: as was set at import, or is now."""
    return hub.constants.HF_HUB_OFFLINE or offline_by_environment()


def fetched(address: Address) -> Path:
    """Return the path of the weights in the cache, fetched where they are not.

    A branch or tag is looked up each time, where that is possible; what has a commit and is in the
    cache takes no network.

    Raises:
        HubError: they cannot be had.

    Warns:
        UserWarning: the hub does not answer, and what is in the cache is used.
    """
    hub = library(address)
    if is_offline(hub):
        return _cached(hub, address, "HF_HUB_OFFLINE is set")
    if (path := _cached_commit(hub, address)) is not None:
        return path
    try:
        commit, chosen, digest = _looked_up(hub, address)
    except HubError:
        raise
    except Exception as error:  # whatever a library of its own raises
        why = explained(hub, address, error)
        if isinstance(error, hub.errors.RevisionNotFoundError):
            raise HubError(address, why) from error
        return cached_instead(address, partial(_cached, hub, address), why, error)
    with translated(hub, address):
        return _downloaded(hub, address, commit, chosen, digest)


def _looked_up(hub: Any, address: Address) -> tuple[str | None, Choice, str | None]:
    """Return the commit, what is to be fetched, and the weights' hash where the hub has it."""
    revision = address.revision
    if address.file is None or address.file.endswith(".weights.json"):
        info = hub.HfApi().model_info(
            address.repository,
            revision=revision,
            files_metadata=True,
            timeout=hub.constants.HF_HUB_ETAG_TIMEOUT,
        )
        sizes = {file.rfilename: file.size for file in info.siblings or []}
        return info.sha or revision, choice.chosen(address, sizes), None
    chosen = choice.of_file(address, address.file)
    url = hub.hf_hub_url(address.repository, address.file, revision=revision)
    try:
        head = hub.get_hf_file_metadata(url, timeout=hub.constants.HF_HUB_ETAG_TIMEOUT)
    except hub.errors.EntryNotFoundError as error:
        names: list[str] = []
        with suppress(Exception):  # it is for the error alone
            names = hub.HfApi().list_repo_files(address.repository, revision=revision)
        choice.chosen(address, dict.fromkeys(name for name in names if name != address.file))
        raise AssertionError("a file that is not in the list is refused") from error
    choice.check_size(address, head.size)
    # Of large files, which are stored by it.
    digest = head.etag if re.fullmatch("[0-9a-f]{64}", head.etag or "") else None
    return head.commit_hash or revision, chosen, digest


def _downloaded(
    hub: Any, address: Address, commit: str | None, chosen: Choice, digest: str | None
) -> Path:
    def download(name: str, revision: str | None) -> Path:
        return Path(hub.hf_hub_download(address.repository, name, revision=revision))

    if chosen.metadata is not None:  # first, so that whoever has the weights has it
        try:
            download(chosen.metadata, commit)
        except Exception as error:
            if _status(error) != 404:  # weights without it would predict something else
                raise
    first, *others = chosen.files
    before = hub.try_to_load_from_cache(address.repository, first, revision=commit)
    # By the branch or tag, so that the cache knows what it stands for.
    path = download(first, address.revision)
    folder = path.parents[first.count("/")]
    if commit is not None and folder.name != commit:
        raise HubError(address, "was changed while it was fetched; try again")
    for name in others:
        download(name, commit)
    if not chosen.path:
        return folder
    is_new = not isinstance(before, str)
    if digest and is_new and digests.sha256(path) != digest:
        for copy in (path.resolve(), path):  # what the link leads to, and the link
            copy.unlink(missing_ok=True)
        raise HubError(address, "arrived damaged, with another SHA-256 than the hub has; try again")
    return path


def _snapshot(hub: Any, address: Address) -> Path | None:
    """Return the folder of the cache with a revision's files, or None where there is none."""
    root = _folder(hub, address)
    revision = address.revision or "main"
    with suppress(OSError, ValueError):
        if not (root / "snapshots" / revision).is_dir():
            revision = (root / "refs" / revision).read_text(encoding="ascii").strip()
        folder = root / "snapshots" / revision
        if re.fullmatch("[0-9A-Za-z._-]+", revision) and folder.is_dir():
            return folder
    return None


def _cached(hub: Any, address: Address, why: str) -> Path:
    """Return the path of weights that the cache has; `why` says why it must have them.

    Raises:
        HubError: it has not.
    """
    folder = _snapshot(hub, address)
    if folder is None:
        raise HubError(address, f"not in the cache{_refs(hub, address)}, and {why}{choice.FETCH}")
    chosen = choice.chosen(address, choice.files_under(folder), f" in the cache ({why})")
    return folder / chosen.path


def _refs(hub: Any, address: Address) -> str:
    """Return, for an error, the branches and tags of a repository that the cache has."""
    refs = _folder(hub, address) / "refs"
    names = [
        path.relative_to(refs).as_posix() for path in sorted(refs.rglob("*")) if path.is_file()
    ]
    return f", which has {printable(', '.join(names[:10]), 300)}" if names else ""


def _folder(hub: Any, address: Address) -> Path:
    """Return the cache's folder of a repository."""
    return Path(hub.constants.HF_HUB_CACHE) / f"models--{address.repository.replace('/', '--')}"


def _cached_commit(hub: Any, address: Address) -> Path | None:
    """Return the path of weights by their commit, which cannot change, where all is cached."""
    if address.file is None or not re.fullmatch("[0-9a-f]{40}", address.revision or ""):
        return None
    beside = metadata.sidecar(address.file).as_posix()
    if hub.try_to_load_from_cache(address.repository, beside, revision=address.revision) is None:
        return None  # nor is it known that there is none
    with suppress(HubError):
        return _cached(hub, address, "")
    return None


@contextmanager
def translated(hub: Any, address: Address) -> Iterator[None]:
    """Turn what the library raises in the block into errors of one line."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        raise HubError(address, explained(hub, address, error)) from error


def explained(hub: Any, address: Address, error: Exception) -> str:
    """Return in one line what the library's error means, and what to do, without the password that
    HF_ENDPOINT or a proxy's address may hold."""
    return re.sub(r"//[^/\s]*@", "//...@", _meaning(hub, address, error))


def _meaning(hub: Any, address: Address, error: Exception) -> str:
    errors, repository = hub.errors, address.repository
    if isinstance(error, errors.GatedRepoError):
        return (
            "is given only to those who accept its conditions, at "
            f"{hub.constants.ENDPOINT}/{repository}; then {LOG_IN}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        if hub.get_token():
            return "no such repository, or one that the token in use may not read"
        return f"no such repository, or a private one: {LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"no such revision, {address.revision}{_revisions(hub, address)}"
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, OSError):
        return "no such file"
    if isinstance(error, json.JSONDecodeError):  # as of a network that asks to log in first
        return f"{hub.constants.ENDPOINT} answers with what is no JSON, and may be another server"
    if isinstance(error, ValueError):  # such as a card whose header it does not take
        return f"is refused ({printable(' '.join(str(error).split()), 300)})"
    status = _status(error)
    if status == 404:
        return "no such repository, revision or file (HTTP 404)"
    if status in (401, 403):
        return f"not allowed (HTTP {status}): the token in use is not valid for it; {LOG_IN}"
    if status is not None:
        return f"{hub.constants.ENDPOINT} answers with HTTP {status}; try again later"
    said = re.sub(r"\?\S+", "?...", first_line(causes(error)[-1]))
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be kept in the cache, {hub.constants.HF_HUB_CACHE} ({error.strerror})"
    if "Consistency check failed" in said:
        return "the download broke off; try again"
    return f"{hub.constants.ENDPOINT} cannot be reached ({said})"


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error began with, or None where it is none of HTTP."""
    for cause in causes(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is not None:
            return int(status)
    return None


def _revisions(hub: Any, address: Address) -> str:
    """Return, for an error, the branches and tags of a repository, where the hub gives them."""
    with suppress(Exception):
        refs = hub.HfApi().list_repo_refs(address.repository)
        names = [ref.name for ref in (*refs.branches, *refs.tags)]
        close = near_misses(str(address.revision), names)
        return close or f"; it has {printable(', '.join(names[:10]), 300)}"
    return ""
