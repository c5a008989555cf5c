"""Child processes that are started again when they die, and always stopped.

start -> running -> ended -> pause (0.5 s doubling to 30 s) -> running -> ...
           |          |
           |          +-- before the cluster was ready: StartError, nothing is tried again
           |          +-- on restart: no pause, no report
           +-- stop, restart: SIGTERM, a grace, SIGKILL
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping, Sequence

LONGEST_PAUSE = 30.0
# A process that lived this long starts afresh with short pauses.
HEALTHY_SECONDS = 60.0
# How soon the successor of a dead process is looked at.
_POLL_SECONDS = 0.05


class StartError(Exception):
    """A process ended while the cluster was starting; it has printed why."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} {describe_exit(code)} while starting")
        self.code = code


def restart_pause(failures: int) -> float:
    """Seconds to wait before start number ``failures`` + 1."""
    return min(LONGEST_PAUSE, 0.5 * 2.0 ** min(failures - 1, 10))


def describe_exit(code: int) -> str:
    """An exit status in words; negative ones are signals."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


class Supervised:
    """One child process. It ends when this program ends, however that happens (see lifeline).

    ``inherited`` are file descriptors that it gets as they are; one that ``announces`` writes a
    line to standard output when it is ready.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        environ: Mapping[str, str],
        inherited: Sequence[int] = (),
        announces: bool = False,
    ) -> None:
        self.name = name
        self.argv = argv
        self._environ = environ
        self._inherited = inherited
        self._announces = announces
        self._process: Process | None = None
        self._may_begin = False
        self._restarting = False
        self._started = asyncio.Event()

    @property
    def pid(self) -> int:
        """Process id; raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    async def start(self) -> None:
        """Start the process in a session of its own: a terminal's Ctrl-C reaches only us."""
        self._process = await asyncio.create_subprocess_exec(
            *self.argv,
            stdin=PIPE,
            stdout=PIPE if self._announces else DEVNULL,
            env=dict(self._environ),
            start_new_session=True,
            pass_fds=self._inherited,
        )
        self._started.set()
        if self._may_begin:
            self.begin()

    def begin(self) -> None:
        """Give a process that stands by the word to begin, now and at every later start."""
        self._may_begin = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(b"\n")

    async def keep_running(self, ready: asyncio.Event, report: Callable[[str], None]) -> None:
        """Wait for the process for ever, starting it again; before ``ready`` an end is final."""
        failures = 0
        while self._process is not None:
            started = time.monotonic()
            code = await self._process.wait()
            if self._restarting:
                self._restarting = False
                failures = 0
                await self.start()
                continue
            if not ready.is_set():
                raise StartError(self.name, code)
            failures = 1 if time.monotonic() - started > HEALTHY_SECONDS else failures + 1
            pause = restart_pause(failures)
            report(f"{self.name} {describe_exit(code)}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            await self.start()

    async def announced(self) -> None:
        """Return once the process has said that it is ready; if it dies, once its successor has."""
        while self._process is not None and self._process.stdout is not None:
            if await self._process.stdout.readline():
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def restart(self, grace: float) -> None:
        """Stop the process as :meth:`stop` does; return when :meth:`keep_running` started another.

        One that is dead at this moment is started again as any other that died.
        """
        if self._process is None:
            return
        self._started.clear()
        self._restarting = self._process.returncode is None
        await self.stop(grace)
        await self._started.wait()

    async def stop(self, grace: float) -> None:
        """Ask the process to drain; kill it after ``grace`` seconds."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End the process now."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
