"""ONNX Runtime Web, which computes in the browser: which files, and where they come from.

It is an npm package of one pinned version; whatever it comes from, each file is known by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ferjax.errors import FerjaxError, first_line, printable
from ferjax.files import replacing, user_cache

PACKAGE: Final = "onnxruntime-web"
VERSION: Final = "1.30.0"
# Of the package's tarball, as the npm registry states it.
INTEGRITY: Final = (
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CX"
    "AfKYQ=="
)
# The files of its dist/ that the page loads, by SHA-256: computing on the CPU, and nothing else.
FILES: Final[Mapping[str, str]] = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
COMPANION: Final = "ferjax_web_runtime"  # an installed package that brings them
NOTICES: Final = "ThirdPartyNotices.txt"
LICENSE: Final = Path(__file__).parent / "ONNXRUNTIME_LICENSE.txt"

_MOST_BYTES: Final = 64 << 20  # of a file; the largest has 14 MB
_MOST_MEMBERS: Final = 10_000  # of a tarball; it has a few hundred
_SECONDS: Final = 600  # that npm may take for 33 MB
_FOLDERS: Final = ("", "dist", "package/dist", f"node_modules/{PACKAGE}/dist")

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The runtime's files, checked.

    Attributes:
        source: where they come from, in words.
        files: their content by name, those of `FILES`.
    """

    source: str
    files: Mapping[str, bytes] = field(repr=False)


class RuntimeMissingError(FerjaxError):
    """ONNX Runtime Web is not at hand; the message says how to get it."""


def find(
    named: str | os.PathLike[str] | None = None,
    *,
    report: Report | None = None,
    fetch: bool = True,
) -> Runtime:
    """Return ONNX Runtime Web's files.

    In this order: what is named; the companion package, where it is installed; what was fetched
    before; what npm fetches now, where it is installed.

    Args:
        named: a folder that has the files, such as the npm package's `dist`, or its tarball.
        report: is told of what takes long.
        fetch: have npm fetch it; False: nothing is fetched.

    Raises:
        RuntimeMissingError: there is none of these.
        FerjaxError: what is named lacks a file, or has another version of it.
    """
    if named is not None:
        return _named(Path(named))
    say = report or (lambda message: None)
    problems: list[str] = []
    for source in (_of_companion, _of_cache, _of_npm) if fetch else (_of_companion, _of_cache):
        try:
            runtime = source(say)
        except FerjaxError as error:
            problems.append(str(error))
            continue
        if runtime is not None:
            return runtime
    why = f" ({'; '.join(problems)})" if problems else ""
    raise RuntimeMissingError(
        f"the page needs {PACKAGE} {VERSION}, which is not at hand{why}: install npm, which "
        f"fetches it; or run `npm pack {PACKAGE}@{VERSION}` elsewhere and give the file by "
        "--runtime; or install the wheel that scripts/build_web_runtime.py makes"
    )


def cache_folder() -> Path:
    """Return where files that npm fetched are kept for the next time."""
    return user_cache() / PACKAGE / VERSION


def of_tarball(path: Path) -> Runtime:
    """Return the files of the npm package's tarball.

    Raises:
        FerjaxError: it cannot be read, lacks a file, or has another version of it.
    """
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in _members(archive):
                folder, _, name = member.name.rpartition("/")
                if folder == "package/dist" and name in FILES and member.isfile():
                    if member.size > _MOST_BYTES:
                        raise FerjaxError(f"{path}: {name} is larger than any version of it")
                    content = archive.extractfile(member)
                    files[name] = b"" if content is None else content.read()
                if len(files) == len(FILES):
                    break
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        raise FerjaxError(
            f"{printable(str(path))}: expected the tarball of {PACKAGE} {VERSION}, "
            f"got a file that cannot be read as one ({first_line(error)})"
        ) from None
    return _checked(files, str(path))


def licences() -> dict[str, bytes]:
    """Return the runtime's licence and, where onnxruntime is installed, which has the same, what it
    says of parts by others; by the names of their files.
    """
    texts = {"LICENSE.txt": LICENSE.read_bytes()}
    spec = importlib.util.find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        with suppress(OSError):
            texts[NOTICES] = (Path(folder) / NOTICES).read_bytes()
    return texts


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for number, member in enumerate(archive):
        if number >= _MOST_MEMBERS:
            return
        yield member


def _named(path: Path) -> Runtime:
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):
        is_folder = is_file = False
    if is_file:
        return of_tarball(path)
    if not is_folder:
        raise FerjaxError(
            f"{printable(str(path))}: no such file or folder; expected the tarball of {PACKAGE} "
            f"{VERSION}, or a folder with {', '.join(FILES)}"
        )
    for inside in _FOLDERS:
        if any((path / inside / name).is_file() for name in FILES):
            return _of_folder(path / inside, str(path))
    raise FerjaxError(
        f"{path}: expected a folder with {', '.join(FILES)}, as the dist of {PACKAGE} {VERSION} "
        "is, got one without them"
    )


def _of_folder(folder: Path, source: str) -> Runtime:
    files: dict[str, bytes] = {}
    for name in FILES:
        with suppress(OSError):
            if (folder / name).stat().st_size <= _MOST_BYTES:
                files[name] = (folder / name).read_bytes()
    return _checked(files, source)


def _checked(files: Mapping[str, bytes], source: str) -> Runtime:
    """Return files as a Runtime, once each is what `FILES` says."""
    missing = [name for name in FILES if name not in files]
    if missing:
        raise FerjaxError(
            f"{printable(source)}: expected {PACKAGE} {VERSION}, got one without "
            f"{', '.join(missing)}"
        )
    for name, sha256 in FILES.items():
        digest = hashlib.sha256(files[name]).hexdigest()
        if digest != sha256:
            raise FerjaxError(
                f"{printable(source)}: expected {name} of {PACKAGE} {VERSION}, SHA-256 "
                f"{sha256[:12]}..., got {digest[:12]}...; another version cannot be used"
            )
    return Runtime(source=source, files={name: files[name] for name in FILES})


def _of_companion(say: Report) -> Runtime | None:
    try:
        package = importlib.import_module(COMPANION)
    except ImportError:
        return None
    place = getattr(package, "__file__", None)
    if place is None:  # a folder of that name, which is no package
        return None
    return _of_folder(Path(place).parent / "dist", f"the installed package {COMPANION}")


def _of_cache(say: Report) -> Runtime | None:
    try:
        folder = cache_folder()
    except RuntimeError:  # no home
        return None
    if not folder.is_dir():
        return None
    return _of_folder(folder, f"npm's {PACKAGE}, fetched before, in {folder}")


def _of_npm(say: Report) -> Runtime | None:
    npm = shutil.which("npm")
    if npm is None:
        return None
    say(f"npm fetches {PACKAGE} {VERSION}, 33 MB, once")
    with tempfile.TemporaryDirectory() as folder:
        tarball = fetch_tarball(npm, Path(folder))
        runtime = of_tarball(tarball)
    runtime = Runtime(source=f"npm's {PACKAGE}", files=runtime.files)
    _keep(runtime)
    return runtime


def fetch_tarball(npm: str, folder: Path) -> Path:
    """Have npm fetch the package into a folder, and return its tarball, checked.

    Raises:
        FerjaxError: npm fails, or gives another file.
    """
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--silent"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FerjaxError(f"npm pack failed: {first_line(error)}") from None
    tarball = folder / f"{PACKAGE}-{VERSION}.tgz"
    if done.returncode or not tarball.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = printable(lines[0], 200) if lines else f"exit code {done.returncode}"
        raise FerjaxError(f"npm pack failed: {reason}")
    with open(tarball, "rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != INTEGRITY:
        raise FerjaxError(f"npm gave another {PACKAGE} {VERSION} than the pinned one")
    return tarball


def _keep(runtime: Runtime) -> None:
    """Keep the files for the next time; where that cannot be, they are fetched again."""
    with suppress(OSError, RuntimeError):
        folder = cache_folder()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder, directory=True) as temporary:
            temporary.mkdir()
            for name, content in runtime.files.items():
                (temporary / name).write_bytes(content)
