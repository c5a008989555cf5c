"""A JDK's HttpClient, which offers HTTP/2 with every request, is served like anybody else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.proxies.conftest import ALL, REQUESTS, Behind
from tests.proxies.test_proxies import FRONTS
from tests.tools import require_tool
from tests.worker.harness import LOOPBACK

PROGRAM = Path(__file__).parent / "java" / "Ask.java"
THREADS = 10
# A JVM takes seconds to start: the others only with make proxies-test.
OTHERS = ("nginx-unbuffered", "haproxy", "go")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["nothing", "nginx-ingress", *(OTHERS if ALL else ())])
def test_every_request_is_answered_with_its_own(behind: Behind, tmp_path: Path, name: str) -> None:
    java = require_tool("java")
    expected = tmp_path / "expected"
    lines = [json.dumps(text, ensure_ascii=False) for text in behind.expected]
    expected.write_text("\n".join(lines) + "\n")

    with FRONTS[name](behind.port, tmp_path) as port:
        url = f"http://{LOOPBACK}:{port}"
        command = [java, str(PROGRAM), url, str(REQUESTS), str(THREADS), str(expected)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [str(REQUESTS), "0", "0"], done.stderr[-2000:]
