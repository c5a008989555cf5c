"""The open-model test on this machine: a gateway and workers of the fake engine, then Locust.

    python -m loadtests.local --rate 1000 --seconds 60

Answers take 20 ms in the engine, so what is measured is the gateway, the worker's server and the
machine. Everything shares its cores, Locust too: the report says how many there are.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT

ROOT = Path(__file__).resolve().parents[1]
PLAN = "ttft=20ms,tpot=0ms"


@contextlib.contextmanager
def cluster(workers: int, *options: str) -> Iterator[str]:
    """The address of a gateway with ready workers; ``options`` are further flags."""
    command = [sys.executable, "-m", "avikam", "serve", "--engine", "fake", "--plan", PLAN]
    command += ["--workers", str(workers), "--http-port", "0", *options]
    with subprocess.Popen(command, stdout=PIPE, stderr=STDOUT, text=True) as process:
        try:
            yield _address(process)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def _address(process: subprocess.Popen[str]) -> str:
    """What the cluster announces once it is ready."""
    for line in process.stdout or ():
        if found := re.search(r"serves .* at (http://\S+)", line):
            return found[1]
    raise SystemExit("the cluster did not start")


def load(address: str, rate: float, seconds: int, report: Path, p99: float) -> int:
    """Run Locust; its exit status is the verdict."""
    report.parent.mkdir(parents=True, exist_ok=True)
    options = {
        "locustfile": ROOT / "loadtests" / "open_model.py",
        "host": address,
        "users": 1,
        "run-time": f"{seconds}s",
        "rate": rate,
        "max-p99": p99,
        "min-rate": 0.95 * rate,
        "html": report,
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", *flags]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'services'}"}
    return subprocess.run(command, check=False, env=environment).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000, help="arrivals per second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--max-p99", type=float, default=0.1, help="seconds")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "loadtest" / "report.html")
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", flush=True)
    with cluster(asked.workers) as address:
        verdict = load(address, asked.rate, asked.seconds, asked.report, asked.max_p99)
    print(f"report: {asked.report}")
    return verdict


if __name__ == "__main__":
    sys.exit(main())
