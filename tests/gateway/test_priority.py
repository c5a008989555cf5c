"""A key's priority: whose sequences get the next slot, through every door."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from avikam.cli.main import app
from avikam.engine.flight import Flight
from avikam.engine.scheduler import Batch
from avikam.gateway.admission.admission import Admission, AdmissionLimits
from avikam.gateway.admission.urgent_queue import UrgentQueue
from avikam.protocol.errors import ApiError
from tests.gateway.clock import Clock
from tests.gateway.doors import door
from tests.gateway.harness import gateway_to
from tests.model.builders import tiny_checkpoint
from tests.worker.harness import eventually, running_worker


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


def add(file: Path, name: str, *flags: str) -> tuple[int, str]:
    """Exit code and what was printed: the new key."""
    done = CliRunner().invoke(app, ["keys", "add", name, "--file", str(file), *flags])
    return done.exit_code, done.stdout.strip()


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "keys.yaml"
    return {
        "usual": add(file, "usual")[1],
        "urgent": add(file, "urgent", "--priority", "-1")[1],
        "patient": add(file, "patient", "--priority", "3")[1],
    }


@pytest.mark.parametrize("kind", ["json", "protobuf", "grpc"])
async def test_the_next_slot_is_for_the_lowest_number(
    kind: str,
    checkpoint: Path,
    secrets: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[str] = []
    all_came = threading.Event()
    worker = {"engine": "real", "model": checkpoint, "slots": 1, "token_budget": 64, "threads": 1}
    async with (
        running_worker(**worker) as running,
        gateway_to(running, grpc_port=0, keys=tmp_path / "keys.yaml") as gateway,
        door(kind, gateway) as knock,
    ):
        runner = running.engine._runner
        launch: Callable[[Batch], Flight] = runner.launch

        def launch_later(batch: Batch) -> Flight:
            all_came.wait(60)
            return launch(batch)

        monkeypatch.setattr(runner, "launch", launch_later)

        async def ask(name: str) -> None:
            answer = await knock(max_tokens=2, authorization=f"Bearer {secrets[name]}")
            assert answer.status == 200
            ended.append(name)

        def held() -> int:
            stats = running.engine.stats()
            return stats.slots_used + stats.waiting

        tasks = []
        for number, name in enumerate(("usual", "patient", "usual", "urgent"), start=1):
            tasks.append(asyncio.create_task(ask(name)))
            await eventually(lambda: held() == number)  # noqa: B023
        all_came.set()
        await asyncio.gather(*tasks)
    assert ended == ["usual", "urgent", "usual", "patient"]


def test_a_key_keeps_its_priority_within_bounds(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    assert add(file, "a", "--priority", "-10")[0] == 0
    assert yaml.safe_load(file.read_text())["keys"][0]["priority"] == -10
    assert add(file, "b", "--priority", "11")[0] == 2


# The gateway's own queue, where sequences wait once the workers' queues are full.


def admission(**limits: int) -> Admission:
    """One place to run at a time."""
    return Admission(lambda: 1, AdmissionLimits(**limits), Clock())


async def enter_all(queue: Admission, *entries: tuple[str, int]) -> list[asyncio.Task[None]]:
    """(tenant, priority) in this order; what is refused is done at once."""
    tasks = []
    for tenant, priority in entries:
        tasks.append(asyncio.create_task(queue.enter(tenant, 1, 1e9, priority=priority)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def order(queue: Admission, tasks: list[asyncio.Task[None]]) -> list[int]:
    """In which order they start when one ends after the other."""
    started: list[int] = []
    while len(started) < len(tasks):
        queue.leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        started += [i for i, task in enumerate(tasks) if task.done() and i not in started]
    return started


async def test_the_gateways_queue_serves_the_lowest_number_first() -> None:
    queue = admission()
    await queue.enter("t", 1, 1e9)
    tasks = await enter_all(queue, ("a", 0), ("a", 3), ("b", 0), ("b", -1), ("a", -10), ("a", 0))

    assert await order(queue, tasks) == [4, 3, 0, 5, 2, 1]


async def test_within_one_priority_tenants_share_as_before() -> None:
    queue = admission()
    await queue.enter("t", 1, 1e9)
    tasks = []
    for tenant in ("a", "a", "a", "b", "b", "b"):
        tasks.append(asyncio.create_task(queue.enter(tenant, 512, 1e9, priority=2)))
        await asyncio.sleep(0)

    assert await order(queue, tasks) == [0, 3, 1, 4, 2, 5]


async def test_one_that_gives_up_leaves_its_place_whatever_its_priority() -> None:
    queue = admission()
    await queue.enter("t", 1, 1e9)
    tasks = await enter_all(queue, ("a", -1), ("a", 0), ("b", 5))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    queue.leave()

    assert (queue.waiting, queue.running) == (0, 0)
    await asyncio.wait_for(queue.enter("a", 1, 1e9), 5)


async def test_a_full_queue_takes_what_is_more_urgent_in_the_place_of_the_last() -> None:
    queue = admission(requests=3)
    await queue.enter("t", 1, 1e9)
    tasks = await enter_all(queue, ("a", 0), ("b", 5), ("a", 5))
    assert queue.refusal("a", priority=5) is not None
    assert queue.refusal("a", priority=0) is None

    (urgent,) = await enter_all(queue, ("a", -1))
    assert [task.done() for task in tasks] == [False, True, False] or [
        task.done() for task in tasks
    ] == [False, False, True]
    assert not urgent.done()
    # All that waits is now at least as urgent as another of its priority would be.
    (again,) = await enter_all(queue, ("a", 0))
    assert sum(task.done() for task in tasks) == 2
    assert queue.refusal("a", priority=0) is not None

    for task in tasks:
        assert not task.done() or isinstance(task.exception(), ApiError)
    for task in (*tasks, urgent, again):
        task.cancel()
    await asyncio.gather(*tasks, urgent, again, return_exceptions=True)


async def test_the_wait_that_is_told_is_the_prioritys_own() -> None:
    clock = Clock()
    queue = Admission(lambda: 1, AdmissionLimits(turn=30.0), clock)
    await queue.enter("t", 1, 1e9)
    tasks = await enter_all(queue, *[("a", 0)] * 30)
    for _ in range(10):
        clock.now += 0.5
        queue.leave()
        await asyncio.sleep(0)

    # Two a second; twenty of priority 0 are left.
    assert queue.expected_wait("a", 0) == pytest.approx(10.0)
    assert queue.expected_wait("a", 1) == pytest.approx(10.0)
    assert queue.expected_wait("a", -1) == 0.0
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-2, 2), st.integers(1, 2000))))
def test_in_any_order_of_coming_nothing_overtakes_what_is_more_urgent(
    entries: list[tuple[str, int, int]],
) -> None:
    queue: UrgentQueue[int] = UrgentQueue()
    for number, (tenant, priority, cost) in enumerate(entries):
        queue.push(tenant, cost, number, priority)
    assert (len(queue), queue.cost) == (len(entries), sum(cost for *_, cost in entries))

    out = [queue.pop() for _ in entries]
    served = [entries[number] for number in out if number is not None]
    assert [priority for _, priority, _ in served] == sorted(p for _, p, _ in entries)
    assert sorted(number for number in out if number is not None) == list(range(len(entries)))
    for tenant in "abc":
        for priority in range(-2, 3):
            own = [n for n in out if n is not None and entries[n][:2] == (tenant, priority)]
            assert own == sorted(own)
    assert (queue.pop(), len(queue), queue.cost, queue.tenants()) == (None, 0, 0, set())


@pytest.mark.parametrize("kind", ["json", "grpc"])
async def test_a_keys_priority_counts_in_the_gateway_too(
    kind: str, secrets: dict[str, str], tmp_path: Path
) -> None:
    """The worker takes one at a time and lets nobody wait: all wait in the gateway."""
    ended: list[str] = []
    async with (
        running_worker(plan="tpot=20ms", slots=1, queue_requests=0) as running,
        gateway_to(running, grpc_port=0, keys=tmp_path / "keys.yaml") as gateway,
        door(kind, gateway) as knock,
    ):
        waits = gateway.server.gateway.admission

        async def ask(name: str, max_tokens: int) -> None:
            answer = await knock(max_tokens=max_tokens, authorization=f"Bearer {secrets[name]}")
            assert answer.status == 200
            ended.append(name)

        tasks = [asyncio.create_task(ask("usual", 100))]
        await eventually(lambda: waits.running == 1)
        for number, name in enumerate(("patient", "usual", "urgent"), start=1):
            tasks.append(asyncio.create_task(ask(name, 2)))
            await eventually(lambda: waits.waiting == number)  # noqa: B023
        await asyncio.gather(*tasks)

    assert ended == ["usual", "urgent", "usual", "patient"]
