"""The house's import directions, and a command line that starts with little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from avikam.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "numpy", "fastapi", "grpc", "sentencepiece", "pydantic", "httpx", "rich"}


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``statement``."""
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_command_line_starts_without_heavy_modules() -> None:
    assert modules_after("import avikam.cli.main") & HEAVY == set()


def test_help_loads_no_command() -> None:
    help_of_all = "from avikam.cli.main import app\ntry: app(['--help'])\nexcept SystemExit: pass"
    assert modules_after(help_of_all) & HEAVY == set()


def test_help_of_a_command_loads_no_engine_and_no_server() -> None:
    """One interpreter shows them all: what is loaded at the end, some command has loaded."""
    show = f"""
from avikam.cli.main import app
for command in {list(COMMANDS)}:
    try: app([command, '--help'])
    except SystemExit: pass
"""
    assert modules_after(show) & {"torch", "fastapi", "grpc", "sentencepiece"} == set()


def test_a_gateway_needs_no_torch() -> None:
    loaded = modules_after("import avikam.gateway.server")
    assert loaded & {"torch", "numpy", "sentencepiece", "safetensors"} == set()


@pytest.mark.parametrize(
    "statement",
    [
        "import avikam.gateway.server",
        "import avikam.worker.server",
        "from avikam.worker.settings import WorkerSettings\n"
        "from avikam.worker.engines import build_engine\n"
        "build_engine(WorkerSettings(threads=1, slots=1)).close()",
    ],
    ids=["gateway", "worker", "engine"],
)
def test_what_has_no_redis_starts_without_its_client(statement: str) -> None:
    assert "redis" not in modules_after(statement)


def test_import_directions_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
