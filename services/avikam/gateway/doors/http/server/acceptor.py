"""Takes new connections, many per turn of the event loop.

uvloop's own servers take one per turn (libuv, issue 3696): beside a thousand busy connections a
turn is long, and who opens a connection for each request would wait for seconds. So the listening
socket is watched here, and every turn takes what there is.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

_log = logging.getLogger(__name__)

# Connections that one turn takes: bounded, so that a flood of them leaves time for requests; fewer
# where other processes take from the same queue, so that they get their share.
_BATCH = 128
_SHARED_BATCH = 32
# The process or the machine has no more of something: more will not help before some end.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_SECONDS = 0.1


class Acceptor:
    """Makes a protocol for every connection to ``listening``, a bound socket that listens.

    ``shared`` is whether other processes listen on it too.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        *,
        shared: bool = False,
    ) -> None:
        self._listening = listening
        self._batch = _SHARED_BATCH if shared else _BATCH
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listening.setblocking(False)

    def open(self) -> None:
        """Take connections from now on."""
        self._pause = None
        self._loop.add_reader(self._listening, self._take)

    def close(self) -> None:
        """Take no more, and stop listening."""
        if self._listening.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _take(self) -> None:
        for _ in range(self._batch):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._rest(error)
                    return
                # The client left before its turn came.
                continue
            starting = self._loop.create_task(self._start(accepted))
            self._starting.add(starting)
            starting.add_done_callback(self._starting.discard)

    async def _start(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, accepted)
        except OSError:
            accepted.close()

    def _rest(self, error: OSError) -> None:
        """Leave them in the queue for a moment; trying again at once would take the whole loop."""
        _log.warning("no connection can be accepted for now: %s", error.strerror)
        self._loop.remove_reader(self._listening)
        self._pause = self._loop.call_later(_PAUSE_SECONDS, self.open)
