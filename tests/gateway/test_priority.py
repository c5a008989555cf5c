"""A key's priority: whose sequences get the next slot, through every door."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from avikam.cli.main import app
from avikam.engine.flight import Flight
from avikam.engine.scheduler import Batch
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
