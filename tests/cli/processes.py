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


def alive(pid: int) -> bool:
    """Whether a process still runs; one that ended and nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def marked(mark: str) -> set[int]:
    """Processes alive now that were started with ``mark`` in their environment."""
    wanted = f"AVIKAM_TEST_MARK={mark}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = entry.joinpath("environ").read_bytes().split(b"\0")
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                continue
            if wanted in variables and alive(int(entry.name)):
                found.add(int(entry.name))
    return found
