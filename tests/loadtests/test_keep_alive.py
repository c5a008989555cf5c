"""The load test's own client, against a server that keeps, closes and cuts connections."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from loadtests.keep_alive import KeepAlive

CLIENTS: list[int] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        CLIENTS.append(self.client_address[1])
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            self.close_connection = True
            return
        self.send_response(200 if self.headers["X-Key"] == "mine" else 401)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        # Without a word to the client, as an idle connection is closed.
        self.close_connection = self.path == "/last"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def client() -> Iterator[KeepAlive]:
    CLIENTS.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield KeepAlive(f"http://127.0.0.1:{server.server_port}", {"X-Key": "mine"}, seconds=20)
        server.shutdown()


def test_connections_are_kept(client: KeepAlive) -> None:
    assert [client.post("/echo", b"a"), client.post("/echo", b"bc")] == [(200, b"a"), (200, b"bc")]
    assert len(set(CLIENTS)) == 1


def test_one_that_was_closed_meanwhile_is_replaced(client: KeepAlive) -> None:
    assert client.post("/last", b"a") == (200, b"a")
    assert client.post("/echo", b"b") == (200, b"b")
    assert len(set(CLIENTS)) == 2


def test_chunks_are_put_together(client: KeepAlive) -> None:
    assert client.post("/chunked", b"") == (200, b"abcde")


def test_half_an_answer_is_an_error(client: KeepAlive) -> None:
    with pytest.raises(ConnectionError, match="before its answer ended"):
        client.post("/cut", b"")


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(OSError, match="refused"):
        KeepAlive("http://127.0.0.1:9", {}, seconds=5).post("/", b"")
