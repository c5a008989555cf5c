"""Every Locust file runs against a cluster, and says by its exit status whether it was content."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from avikam.cli.plan import free_ports
from tests.cli.cluster_process import ServeProcess

ROOT = Path(__file__).resolve().parents[2]
FILES = ("rest.py", "streaming.py", "protobuf.py", "grpc_unary.py")
Run = subprocess.Popen[str]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A gateway for both protocols and two workers of the fake engine."""
    folder = tmp_path_factory.mktemp("serve")
    arguments = ("--engine", "fake", "--plan", "ttft=20ms", "--workers", "2")
    with ServeProcess(folder, *arguments, f"--grpc-port={free_ports(1)[0]}") as cluster:
        yield cluster.wait_ready()


def locust(file: str, host: str, *options: str) -> Run:
    """Locust without its own page, for three seconds."""
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / file), "--headless"]
    command += ["--host", host, "--run-time=3s", "--stop-timeout=20s", "--loglevel=ERROR", *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'services'}"},
    )


def host(file: str, serve: ServeProcess) -> str:
    """Where a file's protocol is spoken."""
    if file != "grpc_unary.py":
        return serve.url
    flag = next(a for a in serve.arguments if a.startswith("--grpc-port="))
    return f"127.0.0.1:{flag.partition('=')[2]}"


def test_every_protocol_is_asked_without_a_failure(serve: ServeProcess, tmp_path: Path) -> None:
    runs = {
        file: locust(
            file, host(file, serve), "--users=4", "--spawn-rate=4", f"--html={tmp_path / file}.html"
        )
        for file in FILES
    }
    for file, run in runs.items():
        output = run.communicate(timeout=100)[0]
        assert run.returncode == 0, output
        assert "/generate" in output or "Generate" in output or "whole stream" in output
        assert "<title>Locust" in (tmp_path / f"{file}.html").read_text()


# On a busy machine Locust takes longer to start than the run is to last.
SLOW_START = """
import time
from locust import events

def hold(**_):
    until = time.monotonic() + 4
    while time.monotonic() < until:
        pass

begun = []
events.init.add_listener(hold)
events.test_start.add_listener(lambda **_: begun.append(time.monotonic()))
events.test_stop.add_listener(lambda **_: print("lasted", time.monotonic() - begun[0]))
from loadtests.rest import RestUser
"""


def test_a_slow_start_takes_nothing_from_the_run(serve: ServeProcess, tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(SLOW_START)
    run = locust(str(slow), serve.url, "--users=2", "--spawn-rate=2")
    output = run.communicate(timeout=100)[0]
    assert run.returncode == 0, output
    assert float(output.partition("lasted ")[2].split()[0]) > 2


def test_the_exit_status_is_the_verdict(serve: ServeProcess) -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    open_model = ("open_model.py", serve.url, "--users=1", "--rate=40", "--warm-up=0")
    runs = {
        "": locust(*open_model, "--min-rate=0.1"),
        "99 % of the requests took up to": locust(*open_model, "--max-p99=0.001"),
        "requests/s were completed, fewer than 900": locust(*open_model, "--min-rate=900"),
        "requests failed": locust("rest.py", nobody, "--users=2"),
    }
    for complaint, run in runs.items():
        output = run.communicate(timeout=100)[0]
        assert run.returncode == (1 if complaint else 0), output
        assert complaint in output
