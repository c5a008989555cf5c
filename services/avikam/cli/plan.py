"""What a cluster on this machine consists of: its processes, their flags and their ports."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avikam.cli.supervisor import Supervised
from avikam.common.settings import flag_name
from avikam.gateway.settings import GatewaySettings
from avikam.worker.settings import WorkerSettings

LOOPBACK = "127.0.0.1"
# What a service may take beyond its own drain before it is killed.
STOP_MARGIN = 10.0


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """What to start: checked settings, and the flags that give them to the children.

    ``listener`` is bound to the REST port and inherited by every gateway. Connections that arrive
    while one of them stops wait in its queue, which no gateway's end closes. ``siblings`` is the
    folder where several gateways tell each other what they measure.
    """

    gateway: GatewaySettings
    worker: WorkerSettings
    gateway_flags: Mapping[str, Any]
    worker_flags: Mapping[str, Any]
    worker_ports: tuple[int, ...]
    gateways: int
    listener: socket.socket
    config: Path | None = None
    siblings: Path | None = None

    @property
    def model_name(self) -> str:
        """What the workers run, for people."""
        return "a fake engine" if self.worker.engine == "fake" else self.worker.model.name

    @property
    def start_steps(self) -> int:
        """Steps of progress until the cluster serves."""
        return 2 * len(self.worker_ports) + self.gateways

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the gateways."""
        host = self.gateway.host
        host = {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(host, host)  # noqa: S104 - not a bind
        return f"http://{host}:{self.gateway.http_port}"

    @property
    def worker_grace(self) -> float:
        """Seconds that a worker gets to drain."""
        return self.worker.drain_accept_seconds + self.worker.drain_seconds + STOP_MARGIN

    @property
    def gateway_grace(self) -> float:
        """Seconds that a gateway gets to drain."""
        return self.gateway.drain_notice_seconds + self.gateway.drain_seconds + STOP_MARGIN

    def addresses(self) -> list[str]:
        """host:port of each worker."""
        return [f"{LOOPBACK}:{port}" for port in self.worker_ports]

    def workers(self) -> list[Supervised]:
        """The workers' processes."""
        return [
            Supervised(f"worker {index + 1}", self._worker_command(index), self._worker_environ())
            for index in range(len(self.worker_ports))
        ]

    def gateway_processes(self) -> list[Supervised]:
        """The gateways' processes, which say when they are ready."""
        return [
            Supervised(
                "gateway" if self.gateways == 1 else f"gateway {index + 1}",
                self._gateway_command(index),
                os.environ,
                inherited=(self.listener.fileno(),),
                announces=True,
            )
            for index in range(self.gateways)
        ]

    def _worker_command(self, index: int) -> list[str]:
        flags = dict(self.worker_flags)
        flags |= {"host": LOOPBACK, "port": self.worker_ports[index]}
        if self.worker.metrics_port:
            flags["metrics_port"] = self.worker.metrics_port + index
        return self._command("worker", flags)

    def _worker_environ(self) -> dict[str, str]:
        """Workers share the cores instead of each taking all of them."""
        share = max(1, (os.cpu_count() or 1) // len(self.worker_ports))
        return {"OMP_NUM_THREADS": str(share), **os.environ}

    def _gateway_command(self, index: int) -> list[str]:
        flags = dict(self.gateway_flags)
        flags |= {"workers": ",".join(self.addresses()), "http_port": self.gateway.http_port}
        if self.gateway.grpc_port is not None:
            flags["grpc_port"] = self.gateway.grpc_port
        if self.gateway.metrics_port:
            flags["metrics_port"] = self.gateway.metrics_port + index
        own = ["--standby", "--announce", f"--listener={self.listener.fileno()}"]
        if self.siblings is not None:
            own.append(f"--sibling={self.siblings / str(index + 1)}")
        return self._command("gateway", flags, *own)

    def _command(self, service: str, flags: Mapping[str, Any], *own: str) -> list[str]:
        config = ["--config", str(self.config)] if self.config else []
        given = [_flag(name, value) for name, value in flags.items()]
        return [sys.executable, "-m", "avikam", service, "--lifeline", *own, *config, *given]


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag_name(name) if value else f"--no-{flag_name(name)[2:]}"
    return f"{flag_name(name)}={value}"


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of the loopback interface that nobody uses now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = tuple(int(each.getsockname()[1]) for each in sockets)
    for each in sockets:
        each.close()
    return ports


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to a port, not listening yet. Raises OSError where somebody listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
