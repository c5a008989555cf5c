"""The clients that run beside an upgrade: one failed request is a failure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "loadtests" / "steady.py"


class Server(ThreadingHTTPServer):
    """Answers ``good`` requests, then refuses one with 503, then answers again."""

    def __init__(self, good: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.good = good
        self.asked = 0


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        self.send_response(503 if self.server.asked == self.server.good + 1 else 200)
        self.end_headers()
        self.wfile.write(b'{"text": "Salut"}')

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(request.param) as served:
        Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


def run(url: str) -> subprocess.CompletedProcess[str]:
    # As CI starts it in a pod: without the file.
    command = [sys.executable, "-c", SCRIPT.read_text(), url, "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("server", [10**6], indirect=True)
def test_all_good(server: Server) -> None:
    done = run(f"http://127.0.0.1:{server.server_port}")
    assert done.returncode == 0, done.stdout
    assert f"{server.asked} requests, 0 failed" in done.stdout


@pytest.mark.parametrize("server", [3], indirect=True)
def test_one_refused_request_is_a_failure(server: Server) -> None:
    done = run(f"http://127.0.0.1:{server.server_port}")
    assert done.returncode == 1
    assert "1 failed\n503 " in done.stdout


def test_nobody_there() -> None:
    assert run("http://127.0.0.1:9").returncode == 1
