"""Children start again when they die, stop when told, and never outlive their parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from avikam.cli.supervisor import StartError, Supervised, describe_exit, restart_pause
from tests.cli.processes import alive, wait_until

STAY = "import time; time.sleep(600)"
IGNORE_SIGTERM = (
    "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
)
# Dies at its first start, stays at its second.
DIE_ONCE = (
    "import pathlib, sys, time; marks = pathlib.Path(sys.argv[1]);"
    "marks.write_text(marks.read_text() + 'x');"
    "sys.exit(9) if marks.read_text() == 'x' else time.sleep(600)"
)


@pytest.fixture
async def processes() -> AsyncIterator[list[Supervised]]:
    started: list[Supervised] = []
    yield started
    for process in started:
        await process.stop(grace=0)


def supervised(code: str, *arguments: str) -> Supervised:
    return Supervised("worker 1", [sys.executable, "-c", code, *arguments], os.environ)


@pytest.mark.parametrize(
    ("failures", "pause"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (5000, 30.0)]
)
def test_pauses_double_up_to_half_a_minute(failures: int, pause: float) -> None:
    assert restart_pause(failures) == pause


def test_an_exit_is_told_in_words() -> None:
    assert describe_exit(3) == "ended with code 3"
    assert describe_exit(-signal.SIGKILL) == "was killed by SIGKILL"


async def test_an_end_before_the_cluster_is_ready_is_final(processes: list[Supervised]) -> None:
    process = supervised("import sys; sys.exit(2)")
    processes.append(process)
    await process.start()
    with pytest.raises(StartError, match="worker 1 ended with code 2 while starting") as caught:
        await process.keep_running(asyncio.Event(), print)
    assert caught.value.code == 2


async def test_a_process_that_dies_later_is_started_again(
    processes: list[Supervised], tmp_path: Path
) -> None:
    marks = tmp_path / "starts"
    marks.touch()
    process = supervised(DIE_ONCE, str(marks))
    processes.append(process)
    ready = asyncio.Event()
    ready.set()
    lines: list[str] = []
    await process.start()
    keeping = asyncio.create_task(process.keep_running(ready, lines.append))
    while marks.read_text() != "xx":
        await asyncio.sleep(0.02)
    keeping.cancel()
    assert lines == ["worker 1 ended with code 9; starting it again in 0.5 s"]


async def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(
    processes: list[Supervised], tmp_path: Path
) -> None:
    mark = tmp_path / "deaf"
    process = supervised(IGNORE_SIGTERM, str(mark))
    processes.append(process)
    await process.start()
    while not mark.exists():
        await asyncio.sleep(0.02)
    pid = process.pid
    await process.stop(grace=0.2)
    assert not alive(pid)


def test_a_child_ends_when_its_parent_is_killed() -> None:
    child = "from avikam.cli.lifeline import stop_with_parent; stop_with_parent();" + STAY
    parent = (
        "import subprocess, sys, time;"
        f"c = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE);"
        "print(c.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    wait_until(lambda: not alive(pid))
