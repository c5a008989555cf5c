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
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT

import psutil

ROOT = Path(__file__).resolve().parents[1]
PLAN = "ttft=20ms,tpot=0ms"
WARM_UP = 5


@contextlib.contextmanager
def cluster(workers: int, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a gateway with ready workers, and the process that holds them all.

    ``options`` are further flags.
    """
    command = [sys.executable, "-m", "avikam", "serve", "--engine", "fake", "--plan", PLAN]
    command += ["--workers", str(workers), "--http-port", "0", *options]
    with subprocess.Popen(command, stdout=PIPE, stderr=STDOUT, text=True) as process:
        try:
            yield _address(process), psutil.Process(process.pid)
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
        "run-time": f"{WARM_UP + seconds}s",
        "warm-up": WARM_UP,
        "rate": rate,
        "max-p99": p99,
        "min-rate": 0.95 * rate,
        "html": report,
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", *flags]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'services'}"}
    return subprocess.run(command, check=False, env=environment).returncode


def spent(process: psutil.Process) -> dict[str, float]:
    """CPU seconds of a cluster's services and of the programs that have ended here."""
    seconds: dict[str, float] = {}
    for child in process.children():
        service = next(word for word in child.cmdline() if word in ("gateway", "worker"))
        times = child.cpu_times()
        seconds[service] = seconds.get(service, 0.0) + times.user + times.system
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds | {"locust": ended.ru_utime + ended.ru_stime}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000, help="arrivals per second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--max-p99", type=float, default=0.1, help="seconds")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "loadtest" / "report.html")
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", flush=True)
    with cluster(asked.workers) as (address, process):
        before = spent(process)
        verdict = load(address, asked.rate, asked.seconds, asked.report, asked.max_p99)
        after = spent(process)
    for name, seconds in after.items():
        cores = (seconds - before[name]) / (WARM_UP + asked.seconds)
        print(f"{name:8} {cores:.2f} cores")
    print(f"report: {asked.report}")
    return verdict


if __name__ == "__main__":
    sys.exit(main())
