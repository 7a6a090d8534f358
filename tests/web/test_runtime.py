"""ONNX Runtime Web: where it is looked for, and that nothing else is taken for it."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import io
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ferjax import FerjaxError
from ferjax.web import runtime
from tests.conftest import RunScript

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
script = importlib.import_module("build_web_runtime")

CONTENT = {name: f"content of {name}".encode() for name in runtime.FILES}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small files in the place of the real ones; neither a companion, nor a cache, nor npm."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setattr(runtime, "FILES", hashes)
    monkeypatch.setattr(runtime, "cache_folder", lambda: tmp_path / "cache" / "1")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, runtime.COMPANION, None)


def folder_of(path: Path, content: dict[str, bytes] = CONTENT) -> Path:
    path.mkdir(parents=True)
    for name, data in content.items():
        (path / name).write_bytes(data)
    return path


def tarball(path: Path, content: dict[str, bytes] = CONTENT, folder: str = "package/dist") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in {"README.md": b"", **content}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "inside", ["", "dist", "package/dist", "node_modules/onnxruntime-web/dist"]
)
def test_a_folder_is_taken(tmp_path: Path, inside: str):
    folder_of(tmp_path / "named" / inside)
    found = runtime.find(tmp_path / "named")
    assert (found.files, found.source) == (CONTENT, str(tmp_path / "named"))


def test_a_tarball_is_taken(tmp_path: Path):
    assert runtime.find(tarball(tmp_path / "a.tgz")).files == CONTENT


def test_the_order_is_companion_cache_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(runtime.RuntimeMissingError, match=r"npm pack .*--runtime.*build_web_runt"):
        runtime.find()
    said: list[str] = []
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(runtime, "fetch_tarball", lambda npm, folder: tarball(folder / "a.tgz"))
    assert runtime.find(report=said.append).source == "npm's onnxruntime-web"
    assert said == [f"npm fetches onnxruntime-web {runtime.VERSION}, 33 MB, once"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "fetched before" in runtime.find(report=said.append).source
    assert len(said) == 1
    package = tmp_path / "site-packages" / runtime.COMPANION
    folder_of(package / "dist")
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, runtime.COMPANION)
    assert runtime.find().source == "the installed package ferjax_web_runtime"
    monkeypatch.delitem(sys.modules, runtime.COMPANION)


def test_a_changed_cache_is_not_taken(tmp_path: Path):
    folder_of(tmp_path / "cache" / "1", {**CONTENT, "ort.wasm.min.mjs": b"other"})
    with pytest.raises(runtime.RuntimeMissingError, match=r"not at hand .*SHA-256 .*got"):
        runtime.find()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**CONTENT, "ort.wasm.min.mjs": b"x"}, r"expected ort\.wasm\.min\.mjs of .* SHA-256"),
        ({"ort.wasm.min.mjs": CONTENT["ort.wasm.min.mjs"]}, "without ort-wasm-simd-threaded.mjs"),
    ],
)
def test_another_version_is_refused(tmp_path: Path, content: dict[str, bytes], message: str):
    for named in (folder_of(tmp_path / "named", content), tarball(tmp_path / "a.tgz", content)):
        with pytest.raises(FerjaxError, match=message):
            runtime.find(named)


def test_what_is_no_tarball_is_refused(tmp_path: Path):
    (tmp_path / "a.tgz").write_bytes(b"no tarball")
    (tmp_path / "cut.tgz").write_bytes(tarball(tmp_path / "whole.tgz").read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("a.tgz", "got a file that cannot be read as one"),
        ("cut.tgz", "got a file that cannot be read as one"),
        ("nothing", "no such file or folder"),
        ("a\0b", "no such file or folder"),
        ("empty", "got one without them"),
    ):
        with pytest.raises(FerjaxError, match=message):
            runtime.find(str(tmp_path / name))


def test_other_members_of_a_tarball_are_not_taken(tmp_path: Path):
    with pytest.raises(FerjaxError, match="without"):
        runtime.find(tarball(tmp_path / "a.tgz", folder="../../package/dist"))
    with tarfile.open(tmp_path / "link.tgz", "w:gz") as archive:
        for name in CONTENT:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    with pytest.raises(FerjaxError, match="without"):
        runtime.find(tmp_path / "link.tgz")


def test_a_member_of_a_huge_size_is_not_read(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("package/dist/ort.wasm.min.mjs")
        member.size = 65 << 20
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(FerjaxError, match="larger than any version of it"):
        runtime.find(tmp_path / "a.tgz")


def test_npm_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error no network' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    with pytest.raises(runtime.RuntimeMissingError, match="npm pack failed: npm error no network"):
        runtime.find()
    npm.write_text(f"#!/bin/sh\necho other > onnxruntime-web-{runtime.VERSION}.tgz\n")
    with pytest.raises(runtime.RuntimeMissingError, match="npm gave another onnxruntime-web"):
        runtime.find()
    assert not (tmp_path / "cache").exists()


def test_the_companion_is_a_wheel_whose_record_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_script: RunScript
):
    done = run_script(script, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected npm, or the package's tarball" in done.stderr
    package = tarball(tmp_path / "a.tgz")
    done = run_script(script, "--tarball", package, "--out", tmp_path / "out")
    wheel = tmp_path / "out" / f"ferjax_web_runtime-{runtime.VERSION}-py3-none-any.whl"
    assert (done.returncode, done.stdout) == (0, f"{wheel}\n")
    first = wheel.read_bytes()
    assert run_script(script, "--tarball", package, "--out", tmp_path / "out").returncode == 0
    assert wheel.read_bytes() == first
    site_packages = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)
    info = site_packages / script.INFO
    assert "MIT License" in (info / "licenses" / "LICENSE.txt").read_text()
    listed = list(csv.reader((info / "RECORD").read_text().splitlines()))
    files = {
        p.relative_to(site_packages).as_posix() for p in site_packages.rglob("*") if p.is_file()
    }
    assert {name for name, _, _ in listed} == files
    for name, digest, size in listed[:-1]:
        data = (site_packages / name).read_bytes()
        known = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        assert (digest, size) == (f"sha256={known}", str(len(data)))
    monkeypatch.syspath_prepend(str(site_packages))
    monkeypatch.delitem(sys.modules, runtime.COMPANION)
    assert runtime.find().source == "the installed package ferjax_web_runtime"
    monkeypatch.delitem(sys.modules, runtime.COMPANION)
