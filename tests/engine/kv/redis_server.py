"""A real Redis of a test's own: killed, frozen and filled as the test likes."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

from tests.tools import require_tool


class RedisServer:
    """One ``redis-server`` without persistence on a free port of the loopback."""

    def __init__(self, folder: Path) -> None:
        self._program = require_tool("redis-server")
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.client = redis.Redis.from_url(self.url)
        self.start()

    def start(self) -> None:
        options = f"--port {self._port} --bind 127.0.0.1 --appendonly no --dir {self._folder}"
        self._process = subprocess.Popen(
            [self._program, *options.split(), "--save", ""], stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > until:
                raise TimeoutError("redis-server did not start")
            time.sleep(0.02)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def blocks(self) -> dict[bytes, bytes]:
        """Every cold block by its Redis key."""
        return {key: self.client.get(key) for key in self.client.keys("*:b:*")}  # type: ignore[misc]

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False
