"""Small child processes and the real ``avikam`` program, for tests that need either."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

AVIKAM = (sys.executable, "-m", "avikam")


def run_avikam(
    *arguments: str, environ: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run ``avikam`` to its end."""
    return subprocess.run(
        [*AVIKAM, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return once ``condition`` holds; fail when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        time.sleep(0.02)


def descendants(pid: int) -> set[int]:
    """Processes below ``pid`` that are alive now."""
    children: dict[int, set[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, set()).add(int(entry.name))
    found, waiting = set(), [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.add(child)
            waiting.append(child)
    return found


def alive(pid: int) -> bool:
    """Whether a process still runs; one that ended and nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
