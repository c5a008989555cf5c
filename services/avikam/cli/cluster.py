"""The cluster's smallest form: worker processes and a gateway on this machine.

avikam serve ──┬── avikam worker   (127.0.0.1, free port) ◄─┐
               ├── avikam worker   ...                    ◄─┤ gRPC
               └── avikam gateway  (--http-port)          ──┘
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

import avikam
from avikam.cli.failure import BAD_SETUP
from avikam.cli.progress import Progress
from avikam.cli.readiness import gateway_ready, worker_answers
from avikam.cli.supervisor import StartError, Supervised
from avikam.gateway.settings import GatewaySettings
from avikam.protocol.settings import flag_name
from avikam.worker.settings import WorkerSettings

LOOPBACK = "127.0.0.1"
# What a service may take beyond its own drain before it is killed.
STOP_MARGIN = 10.0
# The shell's status of a program that Ctrl-C ended.
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """What to start: checked settings, and the flags that give them to the children."""

    gateway: GatewaySettings
    worker: WorkerSettings
    gateway_flags: Mapping[str, Any]
    worker_flags: Mapping[str, Any]
    worker_ports: tuple[int, ...]
    config: Path | None = None

    @property
    def model_name(self) -> str:
        """What the workers run, for people."""
        return "a fake engine" if self.worker.engine == "fake" else self.worker.model.name

    @property
    def start_steps(self) -> int:
        """Steps of progress until the cluster serves: see :class:`Cluster`."""
        return 2 * len(self.worker_ports) + 1

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the gateway."""
        host = self.gateway.host
        host = {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(host, host)  # noqa: S104 - not a bind
        return f"http://{host}:{self.gateway.http_port}"

    def addresses(self) -> list[str]:
        """host:port of each worker."""
        return [f"{LOOPBACK}:{port}" for port in self.worker_ports]

    def processes(self) -> tuple[list[Supervised], Supervised]:
        """The workers, then the gateway."""
        workers = [
            Supervised(f"worker {index + 1}", self._worker_command(index), self._worker_environ())
            for index in range(len(self.worker_ports))
        ]
        return workers, Supervised("gateway", self._gateway_command(), os.environ)

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

    def _gateway_command(self) -> list[str]:
        flags = dict(self.gateway_flags)
        flags |= {"workers": ",".join(self.addresses()), "http_port": self.gateway.http_port}
        return self._command("gateway", flags, "--standby")

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


class Cluster:
    """Runs a plan until it is told to stop.

    Nothing outlives :meth:`run`: whatever goes wrong, every process has ended when it returns.
    """

    def __init__(self, plan: ClusterPlan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress
        self._workers, self._gateway = plan.processes()
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()

    async def run(self) -> int:
        """Exit status: 0 after a clean stop, 130 after a forced one, else why it did not start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        life = asyncio.create_task(self._live())
        told = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({life, told}, return_when=asyncio.FIRST_COMPLETED)
        for task in (life, told):
            task.cancel()
        failure = (await asyncio.gather(life, return_exceptions=True))[0]
        self._progress.close()
        forced = await self._end()
        if isinstance(failure, Exception):
            return exit_status(failure)
        return INTERRUPTED if forced else 0

    def stop(self) -> None:
        """Drain and end; a second call ends everything at once."""
        if self._stopping.is_set():
            self._at_once.set()
        elif self._ready.is_set():
            typer.echo("stopping: running requests may finish (Ctrl-C again: stop now)", err=True)
        self._stopping.set()

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for process in (*self._workers, self._gateway):
                await process.start()
                tasks.create_task(process.keep_running(self._ready, warn))
            await self._become_ready()
            self._ready.set()
            self._progress.close()
            announce(self._plan)

    async def _become_ready(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name, address in zip(self._workers, self._plan.addresses(), strict=True):
                tasks.create_task(self._follow_worker(name.name, address))
        # Imported by now, but not listening: a cluster that cannot serve never opens its port.
        self._gateway.begin()
        await gateway_ready(self._plan.url)
        self._progress.step("gateway ready")

    async def _follow_worker(self, name: str, address: str) -> None:
        await worker_answers(address, ready=False)
        self._progress.step(f"{name} loads the model")
        await worker_answers(address, ready=True)
        self._progress.step(f"{name} ready")

    async def _end(self) -> bool:
        """Stop every process; True when that was forced."""
        ending = asyncio.create_task(self._drain())
        forced = asyncio.create_task(self._at_once.wait())
        await asyncio.wait({ending, forced}, return_when=asyncio.FIRST_COMPLETED)
        if forced.done():
            for process in (*self._workers, self._gateway):
                process.kill()
        forced.cancel()
        await ending
        return self._at_once.is_set()

    async def _drain(self) -> None:
        """The gateway first: its requests still need the workers."""
        gateway, worker = self._plan.gateway, self._plan.worker
        await self._gateway.stop(gateway.drain_notice_seconds + gateway.drain_seconds + STOP_MARGIN)
        grace = worker.drain_accept_seconds + worker.drain_seconds + STOP_MARGIN
        await asyncio.gather(*(process.stop(grace) for process in self._workers))


def exit_status(failure: Exception) -> int:
    """The status of the first process that could not start; its own message is printed already."""
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    if not isinstance(failure, StartError):
        raise failure
    if failure.code != BAD_SETUP:
        warn(f"error: {failure}")
    return failure.code if failure.code > 0 else 1


def warn(text: str) -> None:
    """One line for the person who started the cluster."""
    typer.echo(text, err=True)


def announce(plan: ClusterPlan) -> None:
    """The address, and a request to paste."""
    key = " -H 'Authorization: Bearer YOUR_KEY'" if plan.gateway.keys else ""
    count = len(plan.worker_ports)
    typer.echo(
        f"""
Avikam {avikam.__version__} serves {plan.model_name} at {plan.url} \
({count} {"worker" if count == 1 else "workers"}). Try it:

  curl -X POST {plan.url}/generate{key} -d '{{"prompt":"Bonjour","max_tokens":50}}'

Ctrl-C stops it."""
    )
