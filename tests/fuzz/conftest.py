"""One real cluster for all fuzzers; at the end it still answers, and never failed by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.cli.cluster_process import ServeProcess
from tests.worker.harness import LOOPBACK, free_port


@dataclass(frozen=True, slots=True)
class Target:
    """What fuzzers talk to."""

    http: httpx.Client
    url: str
    grpc: str

    def fine(self) -> None:
        """The next request is answered."""
        reply = self.http.post("/generate", json={"prompt": "Bonjour", "max_tokens": 2, "seed": 1})
        assert reply.status_code == 200, reply.text
        assert reply.json()["text"]

    def check(self, reply: httpx.Response) -> None:
        """Whatever was asked, the answer is a good one or the client's fault, in our envelope."""
        assert reply.status_code < 500, reply.text
        assert reply.headers["x-request-id"]
        if reply.status_code >= 400 and not reply.url.path.startswith("/v1/messages"):
            assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
            assert len(reply.text) < 4000
        self.fine()


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    port = free_port()
    flags = ("--engine", "fake", "--grpc-port", str(port))
    with ServeProcess(tmp_path_factory.mktemp("fuzz"), *flags) as running:
        url = running.wait_ready().url
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield Target(client, url, f"{LOOPBACK}:{port}")
            client.get("/livez").raise_for_status()
        assert "Traceback" not in running.err
        assert "internal_error" not in running.err
