"""Floods without a key: the gateway's memory stays, probes are answered, others are served."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.cli.cluster_process import ServeProcess
from tests.gateway.http_server.streams import INNER, chunked, get

CONNECTIONS = 40
PIECE = 256 * 1024
# What all connections may hold of what came early, and as much again for the allocator.
ALLOWED_MIB = 96

FLOODS = {
    "pipelined requests": INNER * (PIECE // len(INNER)),
    "headers without end": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a:\r\n" * (PIECE // 4),
    "one header without end": b"GET / HTTP/1.1\r\nHost: a\r\na: " + b"b" * PIECE,
    "an address without end": b"GET /" + b"a" * PIECE,
    "chunks of one byte": chunked(b"", *([b"a"] * (PIECE // 6))),
    "a chunk extension": chunked(b"", b"a", extension=b";" + b"e" * PIECE),
    "trailers": chunked(b"")[:-2] + b"a: b\r\n" * (PIECE // 6),
    "line ends": b"\r\n" * (PIECE // 2),
    "behind a body that nobody reads": get(b"Content-Length: 9999999\r\n") + b"x" * PIECE,
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path_factory.mktemp("floods"), "--engine", "fake") as running:
        yield running.wait_ready()


def gateway_of(cluster: ServeProcess) -> psutil.Process:
    """The gateway's own process, below the one that serves all."""
    below = psutil.Process(cluster.process.pid).children(recursive=True)
    return next(process for process in below if "gateway" in process.cmdline())


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_holds_neither_memory_nor_the_loop(cluster: ServeProcess, flood: bytes) -> None:
    gateway = gateway_of(cluster)
    address = httpx.URL(cluster.url)
    with httpx.Client(base_url=cluster.url, timeout=20, trust_env=False) as client:
        client.get("/livez").raise_for_status()
        before = peak = gateway.memory_info().rss
        with contextlib.ExitStack() as stack:
            flooding = [
                stack.enter_context(socket.create_connection((address.host, address.port)))
                for _ in range(CONNECTIONS)
            ]
            sent = dict.fromkeys(flooding, 0)
            end = time.monotonic() + 2.0
            while time.monotonic() < end:
                for each in flooding:
                    sent[each] = push(each, flood, sent[each])
                client.get("/livez").raise_for_status()
                peak = max(peak, gateway.memory_info().rss)

            asked = {"prompt": "Bonjour", "max_tokens": 2}
            assert client.post("/generate", json=asked).status_code == 200

    assert (peak - before) / 2**20 < ALLOWED_MIB
    assert sum(sent.values()) > CONNECTIONS * 8192


def push(client: socket.socket, flood: bytes, sent: int) -> int:
    """Send what the gateway takes now, and read nothing; over and over, if it takes all."""
    client.setblocking(False)
    try:
        return sent + client.send(flood[sent % len(flood) :])
    except BlockingIOError:
        return sent
    except OSError:
        return sent
