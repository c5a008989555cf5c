"""An engine whose steps throw: what it ran goes on elsewhere, and nobody is sent there for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from avikam.engine.flight import Flight
from avikam.engine.scheduler import Batch
from tests.gateway.harness import RunningGateway, gateway_to
from tests.model.builders import tiny_checkpoint
from tests.worker.harness import RunningWorker, running_worker

Throws = Callable[[int, Batch], bool]
PROMPTS = [f"Bonjour {number}" for number in range(6)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


@contextlib.asynccontextmanager
async def worker(checkpoint: Path, throws: Throws | None = None) -> AsyncIterator[RunningWorker]:
    """A worker whose engine throws in the steps (number, batch) for which ``throws`` says so."""
    options: dict[str, Any] = {"slots": 4, "token_budget": 64, "threads": 1}
    async with running_worker(engine="real", model=checkpoint, **options) as running:
        if throws is not None:
            runner: Any = running.engine._runner
            launch, steps = runner.launch, 0

            def launched(batch: Batch) -> Flight:
                nonlocal steps
                steps += 1
                if throws(steps, batch):
                    raise RuntimeError("the device is gone")
                flight: Flight = launch(batch)
                return flight

            runner.launch = launched
        yield running


async def answers(gateway: RunningGateway) -> list[tuple[str, str | None]]:
    """Text and end of a stream per prompt, all at once."""
    streams = await asyncio.gather(
        *(
            gateway.stream(prompt=prompt, max_tokens=30, seed=1, temperature=0.9, ignore_eos=True)
            for prompt in PROMPTS
        )
    )
    return [(stream.text, stream.finish_reason) for stream in streams]


async def test_what_a_failing_step_computed_goes_on_elsewhere(checkpoint: Path) -> None:
    def one_in_ten(step: int, _: Batch) -> bool:
        return step % 10 == 0

    async with (
        worker(checkpoint) as sound,
        gateway_to(sound) as quiet,
        worker(checkpoint, one_in_ten) as failing,
        gateway_to(failing, sound, routing="round_robin") as gateway,
    ):
        wanted = await answers(quiet)
        assert [reason for _, reason in wanted] == ["length"] * len(PROMPTS)
        assert await answers(gateway) == wanted


async def test_an_engine_that_always_fails_is_left_alone(checkpoint: Path) -> None:
    steps = 0

    def always(step: int, _: Batch) -> bool:
        nonlocal steps
        steps = step
        return True

    async with (
        worker(checkpoint) as sound,
        worker(checkpoint, always) as failing,
        gateway_to(failing, sound, routing="round_robin") as gateway,
    ):
        for number in range(40):
            assert await gateway.text(prompt=f"Salut {number}", max_tokens=3)
        members = {member.address: member for member in gateway.server.gateway.pool}
        assert members[failing.address].breaker.state.value == "open"
        assert members[sound.address].breaker.state.value == "closed"
        assert 1 <= steps <= 25


async def test_a_request_that_breaks_every_step_is_refused_and_harms_no_other(
    checkpoint: Path,
) -> None:
    def poisoned(_: int, batch: Batch) -> bool:
        return any(sequence.spec.sampling.top_k == 13 for sequence, _ in batch.parts())

    async with (
        worker(checkpoint, poisoned) as one,
        worker(checkpoint, poisoned) as two,
        gateway_to(one, two) as gateway,
    ):
        wanted = await answers(gateway)
        poison = gateway.post("/generate", prompt="x", max_tokens=5, temperature=0.9, top_k=13)
        found, refused = await asyncio.gather(answers(gateway), poison)

    assert refused.status_code == 500
    assert refused.json()["error"]["code"] == "request_quarantined"
    assert found == wanted
