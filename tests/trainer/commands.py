"""Running ``avikam`` commands: in this process, or in one that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from avikam.cli.main import app


def avikam(*words: object, status: int = 0) -> str:
    """Run a command here; returns what it printed on both streams."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.output


def start(*words: object, module: str = "avikam") -> subprocess.Popen[bytes]:
    """Start ``python -m module words`` with one thread."""
    root = Path(__file__).parents[2] / "services"
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.Popen(command, env=environment)
