"""The cluster's smallest form: worker processes and gateways on this machine.

avikam serve ──┬── avikam worker   (127.0.0.1, free port) ◄─┐
               ├── avikam worker   ...                    ◄─┤ gRPC
               ├── avikam gateway  (--http-port)          ──┤
               └── avikam gateway  (the same socket)      ──┘
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import typer

import avikam
from avikam.cli.failure import BAD_SETUP
from avikam.cli.plan import ClusterPlan
from avikam.cli.progress import Progress
from avikam.cli.readiness import worker_answers
from avikam.cli.supervisor import StartError, Supervised
from avikam.gateway.workers.channel import channel_opener

# The shell's status of a program that Ctrl-C ended.
INTERRUPTED = 130


class Cluster:
    """Runs a plan until it is told to stop.

    SIGINT, SIGTERM   drain and end
    SIGHUP            restart everything one by one, or end when our terminal is what has gone

    Nothing outlives :meth:`run`: whatever goes wrong, every process has ended when it returns.
    """

    def __init__(self, plan: ClusterPlan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress
        self._workers = plan.workers()
        self._gateways = plan.gateway_processes()
        self._connect = channel_opener(plan.gateway)
        self._at_terminal = _at_terminal()
        self._ready = asyncio.Event()
        self._restart = asyncio.Event()
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()

    async def run(self) -> int:
        """Exit status: 0 after a clean stop, 130 after a forced one, else why it did not start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.hang_up)
        life = asyncio.create_task(self._live())
        told = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({life, told}, return_when=asyncio.FIRST_COMPLETED)
        for task in (life, told):
            task.cancel()
        failure = (await asyncio.gather(life, return_exceptions=True))[0]
        with contextlib.suppress(OSError):
            self._progress.close()
        forced = await self._end()
        if isinstance(failure, Exception):
            return exit_status(failure)
        return INTERRUPTED if forced else 0

    def stop(self) -> None:
        """Drain and end; a second call ends everything at once."""
        if self._stopping.is_set():
            self._at_once.set()
            return
        self._stopping.set()
        if self._ready.is_set():
            warn("stopping: running requests may finish (Ctrl-C again: stop now)")

    def hang_up(self) -> None:
        """Restart one by one; but a terminal that has gone means: end, without a word to it."""
        if self._at_terminal and not _at_terminal():
            self._stopping.set()
        self._restart.set()

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for process in (*self._workers, *self._gateways):
                await process.start()
                tasks.create_task(process.keep_running(self._ready, warn))
            await self._become_ready()
            self._ready.set()
            self._progress.close()
            announce(self._plan)
            await self._restart_when_told()

    async def _become_ready(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for process, address in zip(self._workers, self._plan.addresses(), strict=True):
                tasks.create_task(self._follow_worker(process.name, address))
        # Imported by now, but not listening: a cluster that cannot serve never opens its port.
        for gateway in self._gateways:
            gateway.begin()
            await gateway.announced()
            self._progress.step(f"{gateway.name} ready")

    async def _follow_worker(self, name: str, address: str) -> None:
        await worker_answers(address, self._connect, ready=False)
        self._progress.step(f"{name} loads the model")
        await worker_answers(address, self._connect, ready=True)
        self._progress.step(f"{name} ready")

    async def _restart_when_told(self) -> None:
        while True:
            await self._restart.wait()
            self._restart.clear()
            warn("restarting workers and gateways one by one")
            await self._restart_all()
            warn("restarted everything")

    async def _restart_all(self) -> None:
        """Each is ready again before the next one stops: the others carry its load."""
        for worker, address in zip(self._workers, self._plan.addresses(), strict=True):
            await worker.restart(self._plan.worker_grace)
            await worker_answers(address, self._connect, ready=True)
        for gateway in self._gateways:
            await gateway.restart(self._plan.gateway_grace)
            await gateway.announced()

    async def _end(self) -> bool:
        """Stop every process; True when that was forced."""
        ending = asyncio.create_task(self._drain())
        forced = asyncio.create_task(self._at_once.wait())
        await asyncio.wait({ending, forced}, return_when=asyncio.FIRST_COMPLETED)
        if forced.done():
            for process in (*self._workers, *self._gateways):
                process.kill()
        forced.cancel()
        await ending
        return self._at_once.is_set()

    async def _drain(self) -> None:
        """The gateways first: their requests still need the workers."""
        # Nobody will take what waits in this queue.
        self._plan.listener.close()
        await _stop(self._gateways, self._plan.gateway_grace)
        await _stop(self._workers, self._plan.worker_grace)


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


async def _stop(processes: list[Supervised], grace: float) -> None:
    await asyncio.gather(*(process.stop(grace) for process in processes))


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
    """One line for the person who started the cluster, if that person's terminal is still there."""
    with contextlib.suppress(OSError):
        typer.echo(text, err=True)


def announce(plan: ClusterPlan) -> None:
    """The address, and a request to paste."""
    key = " -H 'Authorization: Bearer YOUR_KEY'" if plan.gateway.keys else ""
    parts = _count(len(plan.worker_ports), "worker")
    if plan.gateways > 1:
        parts = f"{_count(plan.gateways, 'gateway')}, {parts}"
    typer.echo(
        f"""
Avikam {avikam.__version__} serves {plan.model_name} at {plan.url} ({parts}). Try it:

  curl -X POST {plan.url}/generate{key} -d '{{"prompt":"Bonjour","max_tokens":50}}'

Ctrl-C stops it."""
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
