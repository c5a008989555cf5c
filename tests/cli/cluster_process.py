"""A real ``avikam serve`` in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import uuid
from pathlib import Path
from types import TracebackType

from tests.cli.processes import AVIKAM, marked, wait_until


class ServeProcess:
    """Starts ``avikam serve`` on a free port; ends it and all it started with the block."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        self.arguments = arguments
        self._out, self._err = folder / f"{self.mark}.out", folder / f"{self.mark}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*AVIKAM, "serve", "--http-port", "0", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "AVIKAM_TEST_MARK": self.mark},
            )

    def __enter__(self) -> ServeProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pid in marked(self.mark):
            os.kill(pid, signal.SIGKILL)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def url(self) -> str:
        """Where it listens, as it has printed it."""
        found = re.search(r"http://\S+:\d+", self.out)
        if found is None:
            raise AssertionError(f"no address in {self.out!r}; standard error: {self.err!r}")
        return found[0]

    def wait_ready(self) -> ServeProcess:
        """Return once the address is printed; fail when the process ends first."""
        wait_until(lambda: "Ctrl-C" in self.out or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.err
        return self

    def interrupt(self) -> None:
        """What Ctrl-C in its terminal does."""
        self.process.send_signal(signal.SIGINT)

    def children(self, service: str) -> set[int]:
        """Its ``avikam worker`` or ``avikam gateway`` processes."""
        return {
            pid
            for pid in marked(self.mark)
            if f"\0{service}\0--lifeline" in Path(f"/proc/{pid}/cmdline").read_text()
        }
