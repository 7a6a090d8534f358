"""A hub on this machine that answers as Hugging Face does, and Kaggle, as far as ferjax asks."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".h5", ".keras", ".onnx", ".msgpack")  # stored by their SHA-256


@dataclass
class Hub:
    """What the hub has and what was asked of it.

    Attributes:
        files: of the repository "someone/emotions", by name, at `COMMIT`.
        refs: its branches and tags.
        fault: what goes wrong: "private", "gated", "broken" (HTTP 503), "portal" (a page to log in
            at a network), "truncated", "slow",
            "damaged" (other bytes than those of the hash), "moved" (to another path).
        requests: method and path of each request.
        headers: of the last request.
        received: by path, what was uploaded; `commits` what was committed.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    refs: tuple[str, ...] = ("main", "v1")
    fault: str = ""
    is_private: bool = False
    exists: bool = True
    requests: list[str] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    received: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[dict[str, Any]]] = field(default_factory=list)
    bodies: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""


def hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Set the library up as environment variables do at import: a cache of its own, offline."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)

    def online(url: str) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_URL_HOSTS", {"127.0.0.1"}, raising=False)

    return SimpleNamespace(cache=tmp_path / "hf", online=online, constants=constants)


def plant(cache: Path, files: Mapping[str, bytes], commit: str = COMMIT, ref: str = "main") -> Path:
    """Put files into a cache as Hugging Face's library does, and return their folder."""
    root = cache / "models--someone--emotions"
    for folder in ("refs", "blobs", f"snapshots/{commit}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "refs" / ref).write_text(commit)
    for name, content in files.items():
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        link = root / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return root / "snapshots" / commit


@contextmanager
def serving(hub: Hub, handler: type[BaseHTTPRequestHandler]) -> Iterator[Hub]:
    """Answer on a port of this machine while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(
        self, body: bytes | Any = b"", status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a body, JSON where it is no bytes."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        stated = {"Content-Length": str(len(body)), **(headers or {})}
        self.send_response(status)
        for name, value in stated.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def noted(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        self.hub.headers = {name.lower(): value for name, value in self.headers.items()}
        return path


class HuggingFace(_Handler):
    """The repository someone/emotions, to be read and written."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, hub = self.noted(), self.hub
        if hub.fault == "broken":
            return self.answer(status=503)
        if hub.fault == "portal":
            return self.answer(b"<html>log in first</html>")
        if hub.fault == "private" or not hub.exists or "someone/emotions" not in path:
            return self.answer(status=401, headers={"X-Error-Code": "RepoNotFound"})
        if hub.fault == "gated" and "/resolve/" in path:
            return self.answer(status=403, headers={"X-Error-Code": "GatedRepo"})
        if match := re.fullmatch(r"/someone/emotions/resolve/([^/]+)/(.+)", path):
            return self.file(*match.groups())
        if path.endswith("/refs"):
            refs = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": COMMIT} for n in hub.refs]
            return self.answer({"branches": refs, "tags": [], "converts": []})
        revision = re.search("/(?:revision|tree)/([^/]+)", path)
        if revision and revision[1] not in (*hub.refs, COMMIT):
            return self.answer(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        if "/tree/" in path:
            return self.answer(
                [
                    {"type": "file", "path": n, "size": len(b), "oid": "0"}
                    for n, b in hub.files.items()
                ]
            )
        siblings = [{"rfilename": name, "size": len(body)} for name, body in hub.files.items()]
        about = {"id": "someone/emotions", "sha": COMMIT, "private": hub.is_private}
        return self.answer({**about, "siblings": siblings})

    def file(self, revision: str, name: str) -> None:
        hub = self.hub
        if revision not in (*hub.refs, COMMIT):
            return self.answer(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        commit = {"X-Repo-Commit": COMMIT}
        if name.startswith("moved/"):
            name = name.removeprefix("moved/")
        elif hub.fault == "moved" and name in hub.files:
            where = f"/someone/emotions/resolve/{revision}/moved/{name}"
            return self.answer(status=302, headers={**commit, "Location": where})
        if hub.fault == "half" and name.endswith(".json"):
            return self.answer(status=503)
        if hub.fault == "plain" and name not in hub.files:  # as a server of somebody's own
            return self.answer(status=404)
        if name not in hub.files:
            return self.answer(status=404, headers={**commit, "X-Error-Code": "EntryNotFound"})
        body = hub.files[name]
        kind = hashlib.sha256 if name.endswith(LARGE) else hashlib.sha1
        headers = {**commit, "ETag": f'"{kind(body).hexdigest()}"'}
        if self.command == "GET" and hub.fault == "damaged":
            body = bytes([body[0] ^ 1]) + body[1:]
        if self.command == "GET" and hub.fault in ("truncated", "slow"):
            self.send_response(200)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if hub.fault == "slow":
                threading.Event().wait(3)
            self.close_connection = True
            return None
        return self.answer(body, headers=headers)

    def do_POST(self) -> None:
        path, hub = self.noted(), self.hub
        body = self.body()
        if "application/x-ndjson" in self.headers.get("Content-Type", ""):
            asked: Any = [json.loads(line) for line in body.splitlines()]
        else:
            asked = json.loads(body or b"{}")
        hub.bodies.append((path, asked))
        if hub.fault == "read only":
            return self.answer({"error": "no"}, 403)
        if path == "/api/repos/create":
            hub.exists, hub.is_private = True, bool(asked.get("private") or asked.get("visibility"))
            return self.answer({"url": f"{hub.url}/someone/emotions"})
        if path == "/api/validate-yaml":
            errors = [{"message": "no"}] if hub.fault == "card" else []
            return self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)
        if "/preupload/" in path:
            kinds = {
                f["path"]: "lfs" if f["path"].endswith(LARGE) else "regular" for f in asked["files"]
            }
            modes = [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in kinds.items()]
            return self.answer({"files": modes})
        if path.endswith("/objects/batch"):
            uploads = [
                {**o, "actions": {"upload": {"href": f"{hub.url}/upload/{o['oid']}"}}}
                for o in asked["objects"]
            ]
            return self.answer(
                {"transfer": "basic", "objects": uploads},
                headers={"Content-Type": "application/vnd.git-lfs+json"},
            )
        if "/branch/" in path:
            hub.refs += (path.rpartition("/")[2],)
            return self.answer({})
        if "/commit/" in path:
            hub.commits.append(asked)
            page = f"{hub.url}/someone/emotions/commit/{COMMIT}"
            return self.answer({"success": True, "commitUrl": page, "commitOid": COMMIT})
        return self.answer({}, 404)

    def do_PUT(self) -> None:
        path = self.noted()
        self.hub.received[path.rpartition("/")[2]] = self.body()
        self.answer()


class Kaggle(_Handler):
    """The only variation of the model someone/emotions, keras/default, in version 3."""

    def do_POST(self) -> None:
        path, hub = self.noted(), self.hub
        asked = json.loads(self.body() or b"{}")
        hub.bodies.append((path, asked))
        if hub.fault == "broken":
            return self.answer({}, 503)
        if hub.fault == "private" or asked.get("modelSlug") != "emotions":
            return self.answer({"error": "no"}, 403)
        call = Path(path).name
        instance = {"slug": "default", "framework": "MODEL_FRAMEWORK_KERAS", "versionNumber": 3}
        if call == "GetModel":
            return self.answer({"slug": "emotions", "instances": [instance]})
        if call == "GetModelInstance":
            return self.answer(instance)
        if call == "ListModelInstanceVersionFiles":
            files = [{"name": name, "size": len(body)} for name, body in hub.files.items()]
            return self.answer({"files": files, "nextPageToken": ""})
        if call == "DownloadModelInstanceVersion" and asked.get("path") in hub.files:
            body = hub.files[asked["path"]]
            if hub.fault == "truncated":
                self.close_connection = True
                return self.answer(body[:9], headers={"Content-Length": str(len(body))})
            if hub.fault == "damaged":
                md5 = base64.b64encode(hashlib.md5(body[:9]).digest()).decode()
                return self.answer(body, headers={"X-Goog-Hash": f"md5={md5}"})
            return self.answer(body)
        return self.answer({}, 404)
