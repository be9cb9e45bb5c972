"""The few endpoints of the hub that uploading and fetching a model use, served on this machine."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_test"


class Hub:
    """Repositories in memory.

    Attributes:
        files: Repository to name to content.
        private: Repositories that were made private.
        requests: Method and path of every request.
        commits: Message of every commit.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.private: set[str] = set()
        self.requests: list[str] = []
        self.commits: list[str] = []
        self.owners = {"me"}
        self.address = ""

    def commit(self, name: str) -> str:
        """A commit's hash, which follows from the content."""
        digest = hashlib.sha1(repr(sorted(self.files[name])).encode())
        for content in self.files[name].values():
            digest.update(content)
        return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any, status: int = 200, **headers: str) -> None:
        self._send(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def _allowed(self, owner: str) -> bool:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Invalid username or password."}, 401)
            return False
        if owner not in self.hub.owners:
            self._json({"error": "You don't have the rights"}, 403, **{"X_Error_Message": "no rights"})
            return False
        return True

    def do_POST(self) -> None:
        body, path = self._body(), self.path.partition("?")[0]
        self.hub.requests.append(f"POST {path}")
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            asked = json.loads(body)
            owner = asked.get("organization") or "me"
            if self._allowed(owner):
                name = f"{owner}/{asked['name']}"
                self.hub.files.setdefault(name, {})
                if asked.get("private") or asked.get("visibility") == "private":
                    self.hub.private.add(name)
                self._json({"url": f"{self.hub.address}/{name}", "id": name, "name": name})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.hub.address}/blobs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self._json({"transfer": "basic", "objects": objects})
        elif parts[4] == "preupload":
            files = json.loads(body)["files"]
            modes = ["lfs" if one["path"].endswith(".safetensors") else "regular" for one in files]
            named = zip(files, modes, strict=True)
            self._json(
                {
                    "files": [
                        {"path": one["path"], "uploadMode": mode, "shouldIgnore": False}
                        for one, mode in named
                    ]
                }
            )
        elif parts[4] == "commit" and self._allowed(parts[2]):
            self._commit("/".join(parts[2:4]), [json.loads(line) for line in body.splitlines()])

    def _commit(self, name: str, lines: list[Any]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.hub.commits.append(value["summary"])
            elif line["key"] == "file":
                self.hub.files[name][value["path"]] = base64.b64decode(value["content"])
            else:
                self.hub.files[name][value["path"]] = self.hub.blobs[value["oid"]]
        oid = self.hub.commit(name)
        self._json({"commitUrl": f"{self.hub.address}/{name}/commit/{oid}", "commitOid": oid})

    def do_PUT(self) -> None:
        body = self._body()
        oid = self.path.rpartition("/")[2]
        self.hub.requests.append("PUT /blobs")
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.blobs[oid] = body
        self._send(200)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name not in self.hub.files:
            self._json({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
            return
        oid, files = self.hub.commit(name), self.hub.files[name]
        if parts[0] == "api" and parts[4:5] == ["tree"]:
            tree = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in files.items()
            ]
            self._json(tree)
        elif parts[0] == "api":
            self._json({"id": name, "sha": oid, "siblings": [{"rfilename": file} for file in files]})
        elif parts[-1] in files:
            content = files[parts[-1]]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self._send(200, content, ETag=etag, X_Repo_Commit=oid, Accept_Ranges="none")
        else:
            self._json({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """A hub at `hub.address`, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def hub_environment(hub: Hub, home: Any, token: str | None = TOKEN) -> dict[str, str]:
    """Variables with which the hub's client asks that server, and nobody else."""
    given = {} if token is None else {"HF_TOKEN": token}
    return {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **given,
    }
