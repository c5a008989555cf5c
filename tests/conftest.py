"""What every area's tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.tools import missing_programs

# How long one example takes says nothing on a busy machine.
settings.register_profile("avikam", deadline=None)
settings.load_profile("avikam")


@pytest.fixture(autouse=True)
def _no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own AVIKAM_* environment must not change what tests see."""
    for name in list(os.environ):
        if name.startswith("AVIKAM_"):
            monkeypatch.delenv(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say last what to install, where tests skipped for want of a program."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)]
    missing = missing_programs(reasons)
    if missing:
        names = " ".join(missing)
        terminalreporter.write_line(f"For the skipped tests: apt-get install {names}")
