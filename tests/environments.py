"""Python environments of other people's programs, kept apart from ours: made once, then reused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1] / "build" / "environments"


def pinned_environment(requirements: Path) -> Path:
    """Folder of programs of an environment with exactly ``requirements``.

    Where packages cannot be had the test skips with the reason; with CI=true it fails.
    """
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = _ROOT / f"{requirements.stem}-{digest}"
    if not (folder / "complete").exists():
        _make(folder, requirements)
    return folder / "bin"


def _make(folder: Path, requirements: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    done = subprocess.run(
        [*_installer(folder), "--requirement", requirements], capture_output=True, text=True
    )
    if done.returncode:
        _unavailable(f"cannot install {requirements.name}: {done.stderr.strip()[-600:]}")
    (folder / "complete").touch()


def _installer(folder: Path) -> list[str | Path]:
    uv = Path(sys.executable).parent / "uv"
    if uv.exists():
        return [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python"]
    return [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]


def _unavailable(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
