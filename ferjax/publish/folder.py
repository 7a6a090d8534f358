"""The folder that is shared: weights as they are, metadata, card, preprocessing."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ferjax import digests, metadata, released
from ferjax.conversion import convert
from ferjax.emotions import Labels
from ferjax.errors import FerjaxError, HubError, WeightFileError, WriteError
from ferjax.evaluate import card, predictions
from ferjax.files import json_text, replacing
from ferjax.hub import Address, hugging_face, parse
from ferjax.hub.address import FORMS, HUGGING_FACE
from ferjax.hub.choice import files_under
from ferjax.publish import header
from ferjax.publish.formats import EXTRAS, Extra

CARD: Final = "README.md"
PREPROCESSOR: Final = "preprocessor_config.json"
_TOKEN: Final = rb"\bhf_[A-Za-z0-9]{30,}\b"
_SECRETS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "KAGGLE_KEY", "KAGGLE_API_TOKEN")

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What goes beside the weights.

    Attributes:
        reports: report.json files of `ferjax evaluate` with these weights, the main one first.
        other_seeds: metadata of weights by the same recipe and other seeds, for the card.
        labels: the class names, as for `ferjax.load`.
        licence: in the place of that in the metadata.
        datasets: names on the hub of the data that the weights were trained on.
        also: formats to write beside the file as it is, of `EXTRAS`.
    """

    reports: Sequence[PathLike] = field(default=())
    other_seeds: Sequence[PathLike] = field(default=())
    labels: Labels | None = None
    licence: str | None = None
    datasets: Sequence[str] = field(default=())
    also: Sequence[Extra] = field(default=())


def repository(address: object, revision: str | None = None) -> Address:
    """Return the address of a repository that weights can be pushed to.

    Args:
        address: hf://owner/name[@branch].
        revision: the branch; None: that of the address.

    Raises:
        HubError: it is another kind of address, or none; or it names another branch.
    """
    form = FORMS[HUGGING_FACE].partition("[/")[0]
    parsed = parse(address)
    if parsed is None or parsed.hub != HUGGING_FACE:
        raise HubError(address, f"expected {form} to push to")
    if parsed.file is not None or parsed.sha256 is not None:
        raise HubError(parsed, f"expected {form} to push to, without a file or hash")
    if revision is not None:
        if parsed.revision not in (None, revision):
            raise HubError(parsed, f"two branches are given, {parsed.revision} and {revision}")
        return repository(str(replace(parsed, revision=revision)))  # which checks its name
    if re.fullmatch("[0-9a-f]{40}", parsed.revision or ""):
        raise HubError(parsed, "expected a branch to push to, not a commit")
    return parsed


def write_folder(
    address: str,
    weights: PathLike,
    folder: PathLike,
    contents: Contents | None = None,
    *,
    revision: str | None = None,
) -> Path:
    """Write the folder that `push` would send, and return its path; nothing is sent.

    Args:
        address: hf://owner/name[@branch], which card and examples name.
        weights: one file that says what network it is of, as it is; by path, name or address.
        folder: is made; one that is not empty is not touched.
        contents: what goes beside the weights; None: what is known of them.
        revision: the branch; None: that of the address.

    Raises:
        HubError: the address is none, or names another branch, or huggingface-hub is missing.
        WeightFileError: the weights cannot be used, or are not one file.
        FerjaxError: the licence or a dataset is unknown to the hub, a token is in a file, or as for
            `ferjax.evaluate.card.text`.
        WriteError: the folder cannot be written, or is not empty.
    """
    if not os.fspath(folder):
        raise WriteError("expected a folder to write, got an empty string")
    target, path = repository(address, revision), Path(folder)
    if path.is_dir() and any(path.iterdir()):
        raise WriteError(f"{path}: is not empty; remove it, or give another folder")
    with replacing(path, directory=True) as temporary:
        temporary.mkdir()
        fill(target, weights, temporary, contents or Contents())
    return path


def fill(target: Address, weights: PathLike, folder: Path, contents: Contents) -> None:
    """Write what is shared into an empty folder; arguments are those of `write_folder`."""
    hub = hugging_face.library(target)
    source = released.path_of(weights)
    if form := metadata.in_parts(source):
        raise WeightFileError(
            source, f"expected one file, got {form}; `ferjax convert` makes a file of it"
        )
    _check_name(target, source)
    # Whoever loads it has no more than it: what is wrong with it is said here.
    classifier = predictions.loaded(source, labels=contents.labels)
    stated = {key: value for key, value in classifier.metadata.items() if key != "sha256"}
    if contents.labels is not None:
        stated = metadata.renamed(stated, metadata.labels(stated), classifier.labels)
        stated["labels"] = list(classifier.labels)
    if contents.licence is not None:
        stated["licence"] = contents.licence
    header.licence_of(stated.get("licence"))
    file = folder / source.name
    shutil.copyfile(source, file)
    metadata.write(file, stated)
    for kind in dict.fromkeys(contents.also):
        _write_extra(file, folder / EXTRAS[kind].format(_stem(file)), kind)
    text = card.text(file, contents.reports, contents.other_seeds, labels=contents.labels)
    text = text.replace("\n## Intended use\n", f"\n{_use(target, file)}\n## Intended use\n", 1)
    reports = [Path(report) for report in contents.reports]
    text = header.with_header(hub, text, _stem(file), stated, reports, contents.datasets)
    (folder / CARD).write_text(text, encoding="utf-8")
    *size, channels = classifier.network.graph.image_shape
    facts = header.preprocessing(size, channels or 1, classifier.value_range, classifier.labels)
    (folder / PREPROCESSOR).write_text(json_text(facts), encoding="utf-8")
    check_secrets(folder, [hub.get_token(), *map(os.environ.get, _SECRETS)])


def _check_name(target: Address, source: Path) -> None:
    """Raise where no address leads to a file of that name, as by a # in it."""
    address = replace(target, file=source.name)
    try:
        is_good = parse(str(address)) == address
    except HubError:
        is_good = False
    if not is_good:
        raise WeightFileError(
            source, "no address leads to a file of that name; rename it, as best.h5"
        )


def _stem(file: Path) -> str:
    return metadata.sidecar(file).name.removesuffix(".metadata.json")


def _write_extra(source: Path, target: Path, kind: str) -> None:
    """Write weights in another format into a folder of its own, with what is known of them."""
    target.parent.mkdir(exist_ok=True)
    if kind != "onnx":
        convert(source, target, to=kind)
        return
    from ferjax import onnx, weights

    model = weights.read(source)
    onnx.save(target, model.graph, model.variables, labels=model.labels, metadata=model.metadata)


def _use(target: Address, file: Path) -> str:
    """Return the section of a card that shows how its weights are used."""
    address = replace(target, file=file.name)
    pinned = replace(address, sha256=digests.sha256(file))
    return f"""## How to use

```python
# pip install "ferjax[hub]"
import ferjax

classifier = ferjax.load("{address}")
for face in classifier.analyze("photograph.jpg"):
    print(face.label, round(face.confidence, 2), face.box)
```

```console
$ ferjax faces photograph.jpg --weights {address}
```

This very file, whatever is pushed later:

    {pinned}

How a cropped face becomes the network's input stands in [{PREPROCESSOR}]({PREPROCESSOR}).
"""


def listing(folder: Path) -> list[tuple[str, int]]:
    """Return the files of a folder that is shared, and their bytes."""
    return [(name, size or 0) for name, size in files_under(folder).items()]


def _contents(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes and, of a .keras that is compressed, those of its members."""
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # which was read before, and has no bomb in it
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    yield archive.read(member)


def check_secrets(folder: Path, secrets: Iterable[Any]) -> None:
    """Raise where a token is in a file that is to be shared, as in a command that metadata has.

    Raises:
        FerjaxError: one is; it is not shown.
    """
    known = [re.escape(secret.encode()) for secret in secrets if secret and len(secret) > 7]
    pattern = re.compile(b"|".join([_TOKEN, *known]))
    for name, _ in listing(folder):
        if any(map(pattern.search, _contents(folder / name))):
            raise FerjaxError(
                f"{name}: a token or password is in it; nothing is written or sent. Take it out of "
                "the weights' metadata or the reports, and withdraw it"
            )
