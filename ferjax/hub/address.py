"""Addresses of weights on a hub: hf:// for Hugging Face, kaggle:// for Kaggle."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from ferjax.errors import HubError, near_misses, printable

HUGGING_FACE: Final = "hf"
KAGGLE: Final = "kaggle"
FORMS: Final = {
    HUGGING_FACE: "hf://owner/name[@revision][/file][#sha256=...]",
    KAGGLE: "kaggle://owner/model[/framework/variation[/version][/file]][#sha256=...]",
}
# As Kaggle writes them in its addresses; upper case, _ and - do not count.
FRAMEWORKS: Final = (
    "keras tensorFlow1 tensorFlow2 tfLite tfJs pyTorch jax flax onnx transformers scikitLearn api "
    "coral gemmaCpp ggml gguf maxText mxnet other pax tensorRtLlm triton vllm"
).split()
_LONGEST: Final = 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)
_HOSTS: Final = ("huggingface.co", "hf.co", "kaggle.com")
# Of a pull request, or what Hugging Face has converted: the revisions that have a / in them.
_REFS: Final = re.compile(r"refs/(?:pr/\d+|convert/[\w.-]+)")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)
_PUBLISHED: Final = "vinitvyas09/cnn_model_emotion_classification"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where weights are on a hub.

    Attributes:
        hub: `HUGGING_FACE` or `KAGGLE`.
        repository: owner/name, or of Kaggle owner/model/framework/variation, of which the last one
            or two may be left out where there is no choice.
        revision: a branch, a tag or a commit, of Kaggle a version; None: the newest.
        file: the path in the repository; None: the only weight file.
        sha256: the hash that the file must have, in lower case; None: any.
    """

    hub: str
    repository: str
    revision: str | None = None
    file: str | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        text = f"{self.hub}://{self.repository}"
        if self.revision is not None:
            separator = "@" if self.hub == HUGGING_FACE else "/"
            is_whole = self.hub == KAGGLE or _REFS.fullmatch(self.revision)
            text += separator + (self.revision if is_whole else quote(self.revision, safe=""))
        text += "" if self.file is None else f"/{self.file}"
        return text + ("" if self.sha256 is None else f"#sha256={self.sha256}")


def parse(source: object) -> Address | None:
    """Return the address that a path of weights is, or None where it is a path.

    A `pathlib.Path` of an address, in which // has become /, is taken for that address.

    Raises:
        HubError: it begins as an address and is none, or is one of another kind.

    >>> parse("hf://owner/name@v1/weights/best.h5")
    Address(hub='hf', repository='owner/name', revision='v1', file='weights/best.h5', sha256=None)
    >>> parse("weights/best.h5")
    """
    if not isinstance(source, (str, os.PathLike)):
        return None
    text = os.fspath(source)
    if not isinstance(text, str):  # a path as bytes
        return None
    match = _SCHEME.match(text)
    if match is None:
        return None
    scheme, rest = match[1].lower(), match[2]
    if scheme not in FORMS:
        if rest.startswith("//") and not os.path.exists(text):
            raise HubError(_shown(text), _other_scheme(scheme, rest))
        return None
    if not isinstance(source, str):
        rest = "//" + rest.replace("\\", "/").lstrip("/")
    return _Parser(scheme, rest).address()


class _Parser:
    """Reads what follows the scheme of an address."""

    def __init__(self, hub: str, rest: str) -> None:
        self.hub, self.rest = hub, rest
        self.shown = _shown(f"{hub}:{rest}")

    def wrong(self, why: str) -> HubError:
        return HubError(self.shown, f"{why}; expected {FORMS[self.hub]}")

    def address(self) -> Address:
        rest, _, fragment = self.rest.partition("#")
        self._check_text(rest)
        sha256 = self._pinned(fragment) if "#" in self.rest else None
        parts = rest[2:].removesuffix("/").split("/")
        if parts[0].lower().removeprefix("www.") in _HOSTS:
            raise self.wrong("an address goes without the name of the host")
        if parts == [""]:
            raise self.wrong("names no repository")
        if "" in parts:
            better = "/".join(part for part in parts if part)
            raise self.wrong(f"a name between two / is missing, {self.hub}://{better} has none")
        if len(rest) > _LONGEST or any(len(part.encode()) > 255 for part in parts):
            raise self.wrong("is longer than names of files are")
        if set(parts) & {".", ".."}:
            raise self.wrong("`.` and `..` lead nowhere in a repository")
        read: Callable[[list[str], str | None], Address]
        read = self._hugging_face if self.hub == HUGGING_FACE else self._kaggle
        address = read(parts, sha256)
        if address.file is not None and rest.endswith("/"):
            raise self.wrong("a file has no / at its end")
        return address

    def _check_text(self, rest: str) -> None:
        """Refuse what no address has in it, and credentials without showing them."""
        if _has_credentials(rest):
            raise self.wrong(
                "an address holds no credentials, and these are known to others now who could see "
                "them; tokens are taken from where the hubs' own programs have them"
            )
        if not rest.isprintable() or "\\" in rest:
            better = rest.replace("\\", "/").lstrip("/")
            slashes = f", as {self.hub}://{better}" if rest.isprintable() else ""
            raise self.wrong(f"/ separates the parts, and nothing is unprintable{slashes}")
        if "?" in rest:
            raise self.wrong("what follows a ? has no meaning here")
        if not rest.startswith("//"):
            raise self.wrong(f"lacks // as in {self.hub}://{rest.lstrip('/')}")

    def _pinned(self, fragment: str) -> str:
        name, _, digest = fragment.partition("=")
        if name.lower() != "sha256" or not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise self.wrong("expected #sha256= and 64 hexadecimal digits behind the #")
        return digest.lower()

    def _names(self, names: list[str]) -> None:
        for name in names:
            if not _NAME.fullmatch(name) or "--" in name or ".." in name:
                raise self.wrong(f"{name[:100]!r} is no name of an owner or a repository")

    def _hugging_face(self, parts: list[str], sha256: str | None) -> Address:
        if parts[0] in ("datasets", "spaces", "kernels", "buckets"):
            raise self.wrong(f"weights are in repositories of models, not in {parts[0]}")
        if parts[0] == "models":  # as Hugging Face's own library writes addresses
            parts = parts[1:]
        if len(parts) < 2:
            raise self.wrong("names no repository, which is owner/name")
        owner, (name, at, revision), file = parts[0], parts[1].partition("@"), "/".join(parts[2:])
        self._names([owner, name])
        if not file and name.lower().endswith((".h5", ".hdf5", ".keras", ".msgpack")):
            raise self.wrong("names no repository, which is owner/name")
        if at:
            match = _REFS.match("/".join((revision, file)))
            if match and revision == "refs":
                revision, file = match[0], f"{revision}/{file}"[match.end() + 1 :]
            revision = self._revision(unquote(revision))
        return Address(
            hub=self.hub,
            repository=f"{owner}/{name}",
            revision=revision if at else None,
            file=file or None,
            sha256=sha256,
        )

    def _revision(self, revision: str) -> str:
        is_ref = re.fullmatch(r"[\w.+~^/-]{1,255}", revision) and revision[0] not in "-/."
        if not is_ref or ".." in revision or "//" in revision or revision.endswith(("/", ".lock")):
            raise self.wrong(f"{revision[:100]!r} is no branch, tag or commit")
        return revision

    def _kaggle(self, parts: list[str], sha256: str | None) -> Address:
        if len(parts) < 2:
            raise self.wrong("names no model, which is owner/model")
        self._names(parts[:4])
        plain = [re.sub("[_-]", "", framework).lower() for framework in FRAMEWORKS]
        if len(parts) > 2 and re.sub("[_-]", "", parts[2]).lower() not in plain:
            raise self.wrong(
                f"{parts[2][:100]!r} is no framework of Kaggle's, {', '.join(FRAMEWORKS[:7])}, ..."
                f"{near_misses(parts[2], FRAMEWORKS)}"
            )
        version, files = None, parts[4:]
        if files and re.fullmatch(r"v?\d+", files[0], re.ASCII | re.IGNORECASE):
            version, files = files[0], files[1:]
            if not re.fullmatch(r"[1-9]\d{0,8}", version, re.ASCII):
                raise self.wrong(f"{version[:20]} is no version, these are 1, 2 and so on")
        return Address(
            hub=self.hub,
            repository="/".join(parts[:4]),
            revision=version,
            file="/".join(files) or None,
            sha256=sha256,
        )


def _has_credentials(rest: str) -> bool:
    """Whether what follows a scheme has user:password@ or token@ where a URL has them."""
    authority = rest.lstrip("/\\").partition("/")[0]
    return "@" in authority or ":" in authority


def _shown(text: str) -> str:
    """Return an address as messages show it: without what may be a secret."""
    scheme, _, rest = text.partition(":")
    if _has_credentials(rest):
        return f"{scheme}://..."
    text = re.sub(r"#(?!sha256=).*", "#...", text, flags=re.DOTALL | re.IGNORECASE)
    return re.sub(r"\?.*", "?...", text, flags=re.DOTALL)


def _other_scheme(scheme: str, rest: str) -> str:
    """Return why an address of another kind is not followed, and what to give in its place."""
    forms = " or ".join(form.partition("[")[0] for form in FORMS.values())
    if scheme == "file":
        return "give the path itself, without file://"
    if scheme in ("http", "https"):
        host, *path = re.sub(r"[?#].*", "", rest[2:], flags=re.DOTALL).split("/")
        host, path = host.lower().removeprefix("www."), [part for part in path if part]
        better = ""
        if host in ("huggingface.co", "hf.co") and len(path) >= 2:
            better = _of_hugging_face(path)
        elif host == "kaggle.com" and path[:1] == ["models"] and len(path) >= 3:
            better = "kaggle://" + "/".join(path[1:])
        hint = f"; did you mean {printable(better, 300)}?" if better else ""
        return f"no weights are fetched from web addresses{hint or f', only from {forms}'}"
    return f"addresses of weights begin with {forms}{near_misses(scheme, [*FORMS, 'huggingface'])}"


def _of_hugging_face(path: list[str]) -> str:
    """Return the address of what a page of Hugging Face shows, by the parts of its path."""
    revision, file = "", ""
    if len(path) > 3 and path[2] in ("blob", "resolve", "raw", "tree", "blame"):
        revision = "" if path[3] == "main" else f"@{path[3]}"
        file = "".join(f"/{part}" for part in path[4:])
    return f"hf://{path[0]}/{path[1]}{revision}{file}"


def offline_by_environment() -> bool:
    """Whether HF_HUB_OFFLINE says that the network is to be left alone."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def hint(name: str) -> str:
    """Return what to say of a missing file whose name may be that of a repository; or nothing.

    >>> hint("owner/name")
    '; weights on a hub have an address, as hf://owner/name'
    """
    parts = name.split("/")
    if name == _PUBLISHED or (len(parts) in (4, 5) and parts[2] in FRAMEWORKS):
        return f"; on Kaggle it is kaggle://{name}"
    if len(parts) == 2 and all(map(_NAME.fullmatch, parts)) and "." not in parts[1]:
        return f"; weights on a hub have an address, as hf://{name}"
    return ""
