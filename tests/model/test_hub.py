"""Names on the hub, against a stand-in of it on this machine: cache, revisions, offline."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.model.foreign import random_model, write_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import sys
from avikam.model.sources.open_source import open_source
from avikam.model.sources.source import SourceError
try:
    source = open_source(sys.argv[1])
    print(source.name, source.origin.kind, source.origin.location, source.origin.revision)
except SourceError as error:
    print("refused:", error)
"""


class _Hub(http.server.BaseHTTPRequestHandler):
    """Just what ``snapshot_download`` asks a hub for."""

    folder: ClassVar[Path]
    asked: ClassVar[list[str]]
    tokens: ClassVar[list[str | None]]

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.asked.append(self.path)
        self.tokens.append(self.headers.get("Authorization"))
        if self.path.startswith("/api/models/org/tiny/tree/"):
            self._send(json.dumps(self._tree()).encode(), {}, body=True)
        elif self.path.startswith("/api/models/org/tiny/"):
            self._send(json.dumps(self._listing()).encode(), {}, body=True)
        elif self.path.startswith("/org/tiny/resolve/"):
            self._file(self.folder / self.path.rpartition("/")[2], body)
        else:
            self.send_error(404)

    def _listing(self) -> dict[str, object]:
        names = [path.name for path in self.folder.iterdir()]
        return {"id": "org/tiny", "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}

    def _tree(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}
            for path in self.folder.iterdir()
        ]

    def _file(self, path: Path, body: bool) -> None:
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        tag = hashlib.sha256(data).hexdigest()
        self._send(data, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, body=body)

    def _send(self, data: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    _Hub.folder = write_folder(tmp_path / "remote", random_model("llama"))
    (_Hub.folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (_Hub.folder / "evil.py").write_text("raise SystemExit")
    _Hub.asked, _Hub.tokens = [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def opened(name: str, cache: Path, endpoint: str, **more: str) -> str:
    """What a process of its own says, for the library reads its settings once."""
    environment = {
        "PATH": "/usr/bin:/bin", "HF_HOME": str(cache), "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN": "hf_secret", **more,
    }  # fmt: skip
    command = [sys.executable, "-c", SCRIPT, name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_name_is_fetched_once_and_known_offline(hub: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    expected = f"tiny hub org/tiny {COMMIT}"
    assert opened("org/tiny", cache, hub) == expected
    assert not [path for path in _Hub.asked if path.endswith((".bin", ".py"))]
    assert "Bearer hf_secret" in _Hub.tokens
    asked = len(_Hub.asked)
    assert opened("org/tiny", cache, hub, HF_HUB_OFFLINE="1") == expected
    assert len(_Hub.asked) == asked
    assert opened(f"org/tiny@{COMMIT}", cache, hub) == expected


def test_what_the_hub_does_not_have_is_refused_in_one_line(hub: str, tmp_path: Path) -> None:
    said = opened("org/other", tmp_path / "cache", hub)
    assert said.startswith(("refused: org/other cannot be", "refused: org/other is not"))
    assert "\n" not in said
    nowhere = opened("org/tiny", tmp_path / "empty", "http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert nowhere.startswith("refused: org/tiny is not in the cache")
