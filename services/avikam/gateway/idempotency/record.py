"""An answer as it grows, for the client that asked and for everyone who asks the same again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator


class Record:
    """Parts in order, then an end or an error. ``fingerprint`` tells one request from another."""

    def __init__(self, fingerprint: bytes) -> None:
        self.fingerprint = fingerprint
        self.parts: list[bytes] = []
        self.followers = 0
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

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(map(len, self.parts))

    def add(self, part: bytes) -> None:
        """What comes next."""
        self.parts.append(part)
        self._notify()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing comes any more."""
        self._ended, self._error = True, error
        self._notify()

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """Every part, from the first; raises the error at the end of one that failed."""
        told = 0
        while True:
            changed = self._changed
            while told < len(self.parts):
                told += 1
                yield self.parts[told - 1]
            if self._ended:
                break
            await changed.wait()
        if self._error is not None:
            raise self._error

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
