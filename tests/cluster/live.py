"""A gateway, four workers, Prometheus, Alertmanager and Locust, all real, on this machine.

Rules and routes are copies of the ones that ship, with their minutes made seconds.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

import httpx
import yaml

from avikam.cli.plan import free_ports
from tests.cluster.helm import ROOT
from tests.cluster.promql import MONITORING, RULES
from tests.tools import require_tool

WORKERS = 4
AVIKAM = (sys.executable, "-m", "avikam")
LABELS = {"namespace": "live", "pool": "main"}


def eventually(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Return once ``condition`` holds; fail when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)


class Receiver:
    """Takes Alertmanager's webhooks: what each receiver was told about each alert, in order."""

    def __init__(self) -> None:
        told: dict[tuple[str, str], list[str]] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    key = (self.path.strip("/"), alert["labels"]["alertname"])
                    told.setdefault(key, []).append(alert["status"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self.told = told
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def last(self, receiver: str, alert: str) -> str:
        """What ``receiver`` was last told about ``alert``."""
        return self.told.get((receiver, alert), [""])[-1]


class LiveCluster:
    """See the module. Everything ends with the block."""

    def __init__(self, folder: Path) -> None:
        ports = iter(free_ports(2 * WORKERS + 4))
        self._folder = folder
        self._worker_ports = [(next(ports), next(ports)) for _ in range(WORKERS)]
        self._gateway, self._metrics, self._prometheus, self._alertmanager = ports
        self._processes: list[subprocess.Popen[bytes]] = []
        self._workers: list[subprocess.Popen[bytes]] = []
        self.receiver = Receiver()
        self.url = f"http://127.0.0.1:{self._gateway}"
        self.metrics_url = f"http://127.0.0.1:{self._metrics}"

    def __enter__(self) -> LiveCluster:
        self.start_workers(range(WORKERS))
        workers = ",".join(f"127.0.0.1:{port}" for port, _ in self._worker_ports)
        gateway = [*AVIKAM, "gateway", f"--http-port={self._gateway}", f"--workers={workers}"]
        gateway += [f"--metrics-port={self._metrics}", "--first-worker-seconds=1"]
        self._run("gateway", *gateway)
        self._start_alertmanager()
        self._start_prometheus()
        self._start_locust()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        processes = [*self._processes, *self._workers]
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        self.receiver.close()

    def start_workers(self, indices: Iterable[int], faults: str = "") -> None:
        """Start these workers, on the ports that are theirs; ``faults`` are a plan's."""
        for index in indices:
            port, metrics = self._worker_ports[index]
            worker = [*AVIKAM, "worker", "--engine=fake", f"--plan=ttft=20ms,tpot=20ms{faults}"]
            worker += [f"--port={port}", f"--metrics-port={metrics}"]
            self._workers.append(self._spawn(f"worker-{port}", *worker))

    def kill_workers(self, count: int) -> None:
        """SIGKILL, the oldest first."""
        for _ in range(count):
            worker = self._workers.pop(0)
            worker.send_signal(signal.SIGKILL)
            worker.wait()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression now."""
        reply = httpx.get(
            f"http://127.0.0.1:{self._prometheus}/api/v1/query", params={"query": expression}
        )
        # It says 503, and no JSON, while it starts.
        answer = reply.raise_for_status().json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        found = self.query('ALERTS{alertstate="firing"}')
        return {series["metric"]["alertname"] for series in found}

    def ready_workers(self) -> int:
        """Ready workers, as Prometheus knows from the gateway; -1 before its first scrape."""
        try:
            found = self.query("avikam_gateway_workers_ready")
        except httpx.HTTPError:
            return -1
        return int(found[0]["value"][1]) if found else -1

    def _start_prometheus(self) -> None:
        for rule in RULES:
            (self._folder / rule.name).write_text(in_seconds(rule.read_text()))
        shipped = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
        shipped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        shipped["rule_files"] = [str(self._folder / rule.name) for rule in RULES]
        shipped["alerting"]["alertmanagers"] = [{"static_configs": [_at(self._alertmanager)]}]
        shipped["scrape_configs"] = [
            {"job_name": "gateway", "static_configs": [_at(self._metrics)]},
            {
                "job_name": "worker",
                "static_configs": [_at(metrics) for _, metrics in self._worker_ports],
            },
        ]
        config = self._folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(shipped))
        flags = [f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'tsdb'}"]
        flags.append(f"--web.listen-address=127.0.0.1:{self._prometheus}")
        self._run("prometheus", require_tool("prometheus"), *flags)

    def _start_alertmanager(self) -> None:
        shipped = (MONITORING / "alertmanager.yaml").read_text()
        shipped = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", shipped)
        shipped = re.sub(r"http://127.0.0.1:\d+", f"http://127.0.0.1:{self.receiver.port}", shipped)
        config = self._folder / "alertmanager.yaml"
        config.write_text(shipped)
        flags = [f"--config.file={config}", f"--storage.path={self._folder / 'alertmanager'}"]
        flags += [f"--web.listen-address=127.0.0.1:{self._alertmanager}"]
        self._run(
            "alertmanager",
            require_tool("prometheus-alertmanager"),
            *flags,
            "--cluster.listen-address=",
        )

    def _start_locust(self) -> None:
        files = [str(ROOT / "loadtests" / name) for name in ("rest.py", "streaming.py")]
        flags = ["--headless", "--users=6", "--spawn-rate=6", "--max-tokens=64", "--host", self.url]
        command = [sys.executable, "-m", "locust", "-f", ",".join(files), *flags]
        self._run("locust", *command)

    def _run(self, name: str, *command: str) -> None:
        self._processes.append(self._spawn(name, *command))

    def _spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join((str(ROOT), str(ROOT / "services")))
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": paths}
            )


def in_seconds(rules: str) -> str:
    """The rules with pauses of a second and windows of ten."""
    rules = re.sub(r"for: \d+[mh]", "for: 1s", rules)
    return re.sub(r"\[\d+[mh]\]", "[10s]", rules)


def _at(port: int) -> dict[str, Any]:
    return {"targets": [f"127.0.0.1:{port}"], "labels": LABELS}
