"""Environments of clients that do not belong into ours: made from their pins, by uv or npm."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent
BUILD = CLIENTS.parents[1] / "build" / "clients"
_SECONDS = 600


def python_with(name: str) -> list[str]:
    """The interpreter that has the client's requirements."""
    requirements = CLIENTS / name / "requirements.txt"
    folder = _folder(name, requirements)
    program = folder / "bin" / "python"
    if not (folder / "done").exists():
        pip = [str(program), "-m", "pip", "install", "--quiet", "-r", str(requirements)]
        if uv := shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent):
            make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
            pip = [uv, "pip", "install", "--quiet", "--python", str(program), "-r", pip[-1]]
        else:
            make = [sys.executable, "-m", "venv", "--clear", str(folder)]
        _run(make)
        _run(pip)
        (folder / "done").touch()
    return [str(program)]


def node_with(name: str) -> tuple[list[str], Path]:
    """Node, and the folder where the client's packages are."""
    if not shutil.which("npm"):
        _unavailable("npm is not installed")
    folder = _folder(name, CLIENTS / name / "package.json")
    if not (folder / "done").exists():
        shutil.copy(CLIENTS / name / "package.json", folder)
        _run(["npm", "install", "--silent", "--no-audit", "--no-fund"], folder)
        (folder / "done").touch()
    return ["node"], folder


def _folder(name: str, pins: Path) -> Path:
    """Where the environment is: another one for other pins and another Python."""
    mark = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = BUILD / f"{name}-{mark}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _run(command: list[str], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        _unavailable(f"{command[0]} took longer than {_SECONDS} s")
    if done.returncode:
        _unavailable(f"{' '.join(command[:4])} failed: {done.stderr[-300:]}")


def _unavailable(reason: str) -> None:
    """Without network or tool a user's run skips; with CI=true it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
