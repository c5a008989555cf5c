"""The OpenAPI document tells the truth: schemathesis asks every operation and checks all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.cluster_process import ServeProcess

ROOT = Path(__file__).resolve().parents[2]
HOOKS = "tests.fuzz.openapi_hooks"
# What is generated at random; the borders of every field are tried besides, in any case.
EXAMPLES = os.environ.get("OPENAPI_EXAMPLES", "5")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster with the embedded model: it has grammars too."""
    with ServeProcess(tmp_path_factory.mktemp("openapi")) as running:
        yield running.wait_ready().url
        assert "Traceback" not in running.err
        assert "internal_error" not in running.err


@pytest.mark.timeout(1200)
def test_every_operation_keeps_the_documents_word(gateway: str, tmp_path: Path) -> None:
    """No check and no operation is left out; CI asks 300 times per operation."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
        *("run", f"{gateway}/openapi.json"),
        *("--checks", "all", "--max-examples", EXAMPLES, "--continue-on-failure"),
        *("--workers", "4", "--request-timeout", "60"),
        *("--generation-database", "none", "--report-dir", str(tmp_path)),
    ]

    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "SCHEMATHESIS_HOOKS": HOOKS},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert "Tested: 2" in done.stdout
