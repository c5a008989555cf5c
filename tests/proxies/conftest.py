"""One gateway in a process of its own for all proxies, and what it answers to each seed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.cli.cluster_process import ServeProcess
from tests.proxies.mixed import SEEDS, question

# Requests through each proxy; make proxies-test sends 10,000.
REQUESTS = int(os.environ.get("PROXIES_REQUESTS", "600"))
# Whether that is everything that was promised: then through every proxy, from every client.
ALL = REQUESTS >= 10_000


@dataclass(frozen=True, slots=True)
class Behind:
    """The gateway that stands behind the proxies."""

    port: int
    expected: list[str]


@pytest.fixture(scope="session")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("behind")
    with ServeProcess(folder, "--engine", "fake") as running:
        address = httpx.URL(running.wait_ready().url)
        assert address.port is not None
        with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
            replies = [client.post("/generate", content=question(seed)) for seed in range(SEEDS)]
        texts = [str(reply.raise_for_status().json()["text"]) for reply in replies]
        assert len(set(texts)) == SEEDS
        yield Behind(address.port, texts)
        assert "Traceback" not in running.err
        assert "internal_error" not in running.err
