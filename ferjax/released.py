"""Where weights are: a path, one of the names of those that ferjax brings, an address of a hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ferjax import hub
from ferjax.errors import FerjaxError, WeightFileError, near_misses
from ferjax.problems import checked_path

VOTES: Final = "fer_cnn8_votes"  # went on from those of FER2013 with what ten people say
FER2013: Final = "fer_cnn8"  # learnt FER2013's own labels
DEFAULT: Final = VOTES
NAMES: Final = (VOTES, FER2013)  # those that are installed with ferjax
OTHERS: Final = ("fer_cnn8_robust", "fer_cnn5")  # those that a checkout has beside them


def path_of(weights: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of weights: a file as it is, one of `NAMES`, or None for `DEFAULT`.

    Of an address of a hub, hf://owner/name/file or kaggle://owner/model/framework/variation, it is
    the path in the hub's cache, into which they are fetched.

    A file or folder of that name, where there is one, comes first. What has no suffix and no folder
    in front is a name, unless a TensorFlow checkpoint goes by it.

    Raises:
        WeightFileError: it is no path, but the content of a file, say; or a name that is none of
            these.
        HubError: an address is none, or the weights there cannot be had.
        FerjaxError: they are ferjax's own, and this installation lacks them.

    >>> path_of("fer_cnn8").name, path_of("runs/best.h5").name
    ('fer_cnn8.h5', 'best.h5')
    """
    name = DEFAULT
    if (address := hub.parse(weights)) is not None:
        return hub.fetched(address)
    if weights is not None:
        path, name = checked_path(weights), os.fspath(weights)
        is_path = path.suffix or path.name != name or os.path.exists(f"{name}.index")
        if path.exists() or (name not in NAMES and is_path):
            return path
        if name not in NAMES:
            raise WeightFileError(
                path,
                f"no such file, and none of the weights that ferjax brings, {', '.join(NAMES)}"
                f"{_hint(name)}",
            )
    file = f"{name}.h5"
    package = Path(__file__).parent
    for folder in (package / "checkpoints", package.parent / "checkpoints"):
        if (folder / file).is_file():
            return folder / file
    raise FerjaxError(f"this installation lacks its weights, {file}; reinstall ferjax")


def _hint(name: str) -> str:
    """Return what may help where there are no weights of that name, or nothing."""
    if name in OTHERS:
        return f"; checkouts of ferjax have it as checkpoints/{name}.h5"
    return near_misses(name, NAMES)


def own_path(weights: str | os.PathLike[str] | None) -> Path:
    """Return the path of weights beside which something is to be stored, as `path_of` finds it.

    Raises:
        WeightFileError: as for `path_of`; or they are those that ferjax brings, by their name, or a
            hub's.
    """
    if hub.parse(weights) is not None:
        raise WeightFileError(
            weights,
            "what is stored with the weights of a hub stays as it is; "
            f"`ferjax convert {weights} mine.h5` makes a copy of your own",
        )
    path = path_of(weights)
    if weights is None or path != Path(weights):
        raise WeightFileError(
            path,
            "what is stored with the weights that ferjax brings stays as it is; "
            f"`ferjax convert {path.stem} mine.h5` makes a copy of your own",
        )
    return path
