"""Push weights to Hugging Face: what is listed, as one commit, or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ferjax.errors import HubError
from ferjax.evaluate.card import MARK
from ferjax.hub import Address, hugging_face
from ferjax.publish.folder import CARD, Contents, fill, listing, repository

Note = Callable[[str], None]
MESSAGE: Final = "Weights, their metadata and card, by ferjax"


def push(
    address: str,
    weights: str | os.PathLike[str],
    contents: Contents | None = None,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = MESSAGE,
    force: bool = False,
    note: Note = lambda line: None,
) -> str:
    """Send weights to a repository, made where there is none, and return the commit's page.

    Args:
        address: hf://owner/name[@branch].
        weights, contents: as for `write_folder`.
        private: make the repository a private one; a public one is refused then.
        revision: the branch, made where there is none; None: that of the address, or main.
        message: of the commit.
        force: replace a card that ferjax did not write.
        note: is told, line by line, what will be sent, before anything is.

    Raises:
        HubError: nobody is logged in, the hub refuses, or does not answer; no commit is made then.
        FerjaxError: as for `write_folder`.
    """
    target = repository(address, revision)
    if not message.strip():
        raise HubError(target, "expected words for the commit (--message)")
    hub = hugging_face.library(target)
    if hugging_face.is_offline(hub):
        raise HubError(target, "HF_HUB_OFFLINE is set, and nothing can be pushed")
    if not hub.get_token():
        raise HubError(target, f"nobody is logged in: {hugging_face.LOG_IN}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shared"
        folder.mkdir()
        fill(target, weights, folder, contents or Contents())
        with hugging_face.translated(hub, target):
            return _sent(hub, target, folder, private, message, force, note)


def _sent(
    hub: Any, target: Address, folder: Path, private: bool, message: str, force: bool, note: Note
) -> str:
    api, name = hub.HfApi(), target.repository
    about = _described(hub, api, name)
    if about is not None and private and not about.private:
        raise HubError(target, "is public already, and --private does not hide it")
    branch = target.revision or "main"
    present = _files(hub, api, name, branch) if about is not None else []
    if CARD in present and not force:
        _check_card(hub, target, branch)
    kind = ("private" if private else "new") if about is None else "existing"
    note(f"to hf://{name}, {kind}, branch {branch}:")
    for file, size in listing(folder):
        note(f"  {file}, {size:,} bytes{', replaced' if file in present else ''}")
    if about is None:
        api.create_repo(name, private=True if private else None)
    if branch != "main":
        api.create_branch(name, branch=branch, exist_ok=True)
    additions = [
        hub.CommitOperationAdd(path_in_repo=file, path_or_fileobj=str(folder / file))
        for file, _ in listing(folder)
    ]
    commit = api.create_commit(name, additions, commit_message=message, revision=branch)
    return str(commit.commit_url)


def _described(hub: Any, api: Any, name: str) -> Any:
    """Return what the hub says of a repository, or None where it says that there is none."""
    try:
        return api.model_info(name)
    except hub.errors.GatedRepoError:
        raise
    except hub.errors.RepositoryNotFoundError:
        return None


def _files(hub: Any, api: Any, name: str, branch: str) -> list[str]:
    try:
        return list(api.list_repo_files(name, revision=branch))
    except hub.errors.RevisionNotFoundError:  # a branch that is to be made
        return []


def _check_card(hub: Any, target: Address, branch: str) -> None:
    """Refuse to replace a card that people wrote.

    Raises:
        HubError: it has no mark of ferjax's.
    """
    path = hub.hf_hub_download(target.repository, CARD, revision=branch)
    if MARK.encode() not in Path(path).read_bytes()[: 1 << 20]:
        raise HubError(target, f"its {CARD} is no card that ferjax wrote; --force replaces it")
