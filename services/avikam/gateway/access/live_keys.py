"""Follows the key file: a key added or revoked counts within a second, without a restart.

A file that is gone or malformed changes nothing but the log: the last good keys stay.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from avikam.gateway.access.key_file import KeyFileError, read_keys
from avikam.gateway.access.keys import KeyRing

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5

# Device, inode, size, time of change. A mounted secret changes by a link to another inode.
_Mark = tuple[int, int, int, int]


class LiveKeys:
    """The keys as the file has them now. Raises KeyFileError when it begins with a bad file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = _mark(path)
        self.ring = KeyRing(read_keys(path))

    async def run(self) -> None:
        """Read the file again whenever it changes."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        mark = _mark(self._path)
        if mark == self._mark:
            return
        # Noted before reading: a change meanwhile is seen next time.
        self._mark = mark
        try:
            self.ring = KeyRing(read_keys(self._path))
        except KeyFileError as error:
            _log.error("keeping the keys as they were: %s", error)
        else:
            _log.info("the key file has changed: %d keys", len(self.ring))


def _mark(path: Path) -> _Mark | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
