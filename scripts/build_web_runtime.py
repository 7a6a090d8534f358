"""Build the wheel ferjax_web_runtime, which brings ONNX Runtime Web to machines without npm.

It has the few files of the npm package onnxruntime-web that the page of `ferjax web` loads, of the
pinned version, each checked by its hash, and its licence. Where it is installed, `ferjax web` takes
them from there.

examples:
  python scripts/build_web_runtime.py --out dist
  python scripts/build_web_runtime.py --tarball onnxruntime-web-1.30.0.tgz --out dist

Exit codes: 0 done, 2 a mistake in the call.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ferjax.errors import FerjaxError
from ferjax.files import make_folder, replacing
from ferjax.web import runtime

NAME: Final = runtime.COMPANION
INFO: Final = f"{NAME}-{runtime.VERSION}.dist-info"
WHEEL: Final = f"{NAME}-{runtime.VERSION}-py3-none-any.whl"

_DATE: Final = (2020, 1, 1, 0, 0, 0)  # the same file of the same content, whenever it is built
_MODULE: Final = f"""# ONNX Runtime Web {runtime.VERSION} for the page of `ferjax web`, in dist/
"""
_METADATA: Final = f"""Metadata-Version: 2.4
Name: {NAME.replace("_", "-")}
Version: {runtime.VERSION}
Summary: ONNX Runtime Web, as the page of `ferjax web` loads it
License-Expression: MIT
License-File: LICENSE.txt
Requires-Python: >=3.11
Description-Content-Type: text/plain

{", ".join(runtime.FILES)} of the npm package {runtime.PACKAGE} {runtime.VERSION}, unchanged.
"""
_WHEEL: Final = """Wheel-Version: 1.0
Generator: ferjax
Root-Is-Purelib: true
Tag: py3-none-any
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="build_web_runtime",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--tarball", type=Path, metavar="FILE", help="of the npm package (default: npm fetches it)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("dist"), metavar="DIR", help="(default: dist)"
    )
    args = parser.parse_args()
    try:
        print(build(args.out, args.tarball))
    except FerjaxError as error:
        print(f"build_web_runtime: error: {error}", file=sys.stderr)
        return 2
    return 0


def build(folder: Path, tarball: Path | None = None) -> Path:
    """Write the wheel into a folder, and return its path.

    Raises:
        FerjaxError: the package cannot be had or is another one, or the wheel cannot be written.
    """
    brought = _fetched() if tarball is None else runtime.of_tarball(tarball)
    content = {
        f"{NAME}/__init__.py": _MODULE.encode(),
        **{f"{NAME}/dist/{name}": data for name, data in brought.files.items()},
        f"{INFO}/METADATA": _METADATA.encode(),
        f"{INFO}/WHEEL": _WHEEL.encode(),
        **{f"{INFO}/licenses/{name}": data for name, data in runtime.licences().items()},
    }
    content[f"{INFO}/RECORD"] = _record(content)
    make_folder(folder)
    with replacing(folder / WHEEL) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in content.items():
            member = zipfile.ZipInfo(name, _DATE)
            member.external_attr = 0o644 << 16
            archive.writestr(member, data, zipfile.ZIP_DEFLATED)
    return folder / WHEEL


def _fetched() -> runtime.Runtime:
    npm = shutil.which("npm")
    if npm is None:
        raise FerjaxError("expected npm, or the package's tarball by --tarball, got neither")
    with tempfile.TemporaryDirectory() as folder:
        return runtime.of_tarball(runtime.fetch_tarball(npm, Path(folder)))


def _record(content: Mapping[str, bytes]) -> bytes:
    """Return the list of files with their hashes, which installers check."""
    lines = []
    for name, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    return ("".join(lines) + f"{INFO}/RECORD,,\n").encode()


if __name__ == "__main__":
    sys.exit(main())
