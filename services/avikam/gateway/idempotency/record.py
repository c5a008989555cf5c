"""An answer as it grows, for the client that asked and for everyone who asks the same again.

It grows no further than a few messages beyond what the first of them has read: who does not read
costs no more memory than without a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

# Bytes that may be there and have not been read by anybody.
_UNREAD_BYTES = 256 * 1024


class Record:
    """Parts in order, then an end or an error. ``fingerprint`` tells one request from another."""

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint
        self.parts: list[bytes] = []
        self.followers = 0
        self.size = 0
        self._read = 0
        self._catching_up = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()

    @property
    def complete(self) -> bool:
        """Whether the whole answer is here."""
        return self._ended and self._error is None

    @property
    def running(self) -> bool:
        """Whether more may come."""
        return not self._ended

    def add(self, part: bytes) -> None:
        """What comes next."""
        self.parts.append(part)
        self.size += len(part)
        self._notify()

    async def wait_for_readers(self) -> None:
        """Until more may be added."""
        while self.size - self._read > _UNREAD_BYTES:
            self._catching_up.clear()
            await self._catching_up.wait()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing comes any more."""
        self._ended, self._error = True, error
        self._notify()

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """Every part, from the first; raises the error at the end of one that failed."""
        told = size = 0
        while True:
            changed = self._changed
            while told < len(self.parts):
                part = self.parts[told]
                yield part
                told, size = told + 1, size + len(part)
                self._note_read(size)
            if self._ended:
                break
            await changed.wait()
        if self._error is not None:
            raise self._error

    def _note_read(self, size: int) -> None:
        self._read = max(self._read, size)
        self._catching_up.set()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
