"""Adapters over REST: loaded on every worker that has a model, listed, used, unloaded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from avikam.model.checkpoint import load_checkpoint
from tests.gateway.harness import RunningGateway, gateway_to
from tests.model.adapters import factors, write_adapter
from tests.model.builders import tiny_checkpoint
from tests.worker.harness import RunningWorker, running_worker


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def adapters(tmp_path: Path, checkpoint: Path) -> Path:
    """A folder with the adapter ``poet``."""
    write_adapter(tmp_path / "poet", factors(load_checkpoint(checkpoint).config))
    return tmp_path


@pytest_asyncio.fixture
async def first(checkpoint: Path, adapters: Path) -> AsyncIterator[RunningWorker]:
    async with running_worker(engine="real", model=checkpoint, adapters=adapters) as worker:
        yield worker


@pytest_asyncio.fixture
async def second(checkpoint: Path, adapters: Path) -> AsyncIterator[RunningWorker]:
    async with running_worker(engine="real", model=checkpoint, adapters=adapters) as worker:
        yield worker


def listed(gateway: RunningGateway) -> bool:
    """Whether every worker's status names the adapter."""
    statuses = [worker.status for worker in gateway.server.gateway.pool]
    return all(s is not None and [a.name for a in s.adapters] == ["poet"] for s in statuses)


async def test_an_adapter_is_loaded_everywhere_listed_used_and_unloaded(
    first: RunningWorker, second: RunningWorker
) -> None:
    async with gateway_to(first, second) as gateway:
        loaded = await gateway.post("/v1/load_lora_adapter", lora_name="poet", lora_path="poet")
        assert listed(gateway), "who was told that it is loaded may use it at once"
        cards = {card["id"]: card for card in (await gateway.get("/v1/models")).json()["data"]}
        answer = await gateway.post("/generate", prompt="a", max_tokens=2, model="poet")
        unloaded = await gateway.post("/v1/unload_lora_adapter", lora_name="poet")
        gone = await gateway.post("/generate", prompt="a", max_tokens=2, model="poet")

    assert loaded.status_code == 200
    assert [worker["ok"] for worker in loaded.json()["workers"]] == [True, True]
    assert len(loaded.json()["digests"]) == 1
    assert cards["poet"]["parent"] in cards
    assert answer.json()["model"] == "poet"
    assert unloaded.status_code == 200
    assert gone.status_code == 404


async def test_what_every_worker_refuses_is_one_refusal(
    first: RunningWorker, second: RunningWorker
) -> None:
    async with gateway_to(first, second) as gateway:
        missing = await gateway.post("/v1/load_lora_adapter", lora_name="x", lora_path="../x")
        unknown = await gateway.post("/v1/unload_lora_adapter", lora_name="x")

    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "lora_path")
    assert unknown.status_code == 404


async def test_workers_that_differ_are_told_apart(first: RunningWorker) -> None:
    async with running_worker() as other, gateway_to(first, other) as gateway:
        partly = await gateway.post("/v1/load_lora_adapter", lora_name="poet", lora_path="poet")

    assert partly.status_code == 502
    assert partly.json()["error"]["code"] == "adapter_incomplete"
    outcomes = {worker["ok"]: worker for worker in partly.json()["workers"]}
    assert outcomes[False]["error"]["code"] == "unsupported"


@pytest.mark.parametrize("body", [{}, {"lora_name": "x"}, {"lora_name": "", "lora_path": "x"}])
async def test_a_load_needs_a_name_and_a_path(first: RunningWorker, body: dict[str, str]) -> None:
    async with gateway_to(first) as gateway:
        refused = await gateway.post("/v1/load_lora_adapter", **body)

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] in ("lora_name", "lora_path")


async def test_names_of_models_are_not_given_away(first: RunningWorker) -> None:
    async with gateway_to(first) as gateway:
        for name in (first.engine.model.id, "default"):
            refused = await gateway.post("/v1/load_lora_adapter", lora_name=name, lora_path="poet")
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "lora_name")
            assert "already names a model" in refused.json()["error"]["message"]
