"""Tools that tests need beside Python: absent ones skip a user's run and fail CI's."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


def require_tool(name: str) -> str:
    """Path of a program, here or beside our Python.

    Where it is missing, the test skips; with CI=true it fails.
    """
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is not None:
        return path
    message = f"{name} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{message}, and CI must have it: add it to .ci/run", pytrace=False)
    pytest.skip(message)
