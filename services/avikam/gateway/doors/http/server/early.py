"""Bytes that came before their turn: of requests that a client sent without waiting for replies."""

from __future__ import annotations

from avikam.gateway.doors.http.server.listener import Listener

# Bytes from which on a client is kept from sending more.
_MUCH = 16 * 1024


class Early:
    """One connection's. False when there are none; all connections together have bounded room."""

    __slots__ = ("_data", "_listener")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._data = b""

    def __bool__(self) -> bool:
        return bool(self._data)

    @property
    def is_much(self) -> bool:
        """Whether no more should come for now."""
        return len(self._data) > _MUCH

    def add(self, data: bytes) -> bool:
        """Keep more of them; without room for them, all are dropped, and the answer is False."""
        if not self._listener.has_room(len(data)):
            self.drop()
            return False
        self._listener.early += len(data)
        self._data += data
        return True

    def take(self) -> bytes:
        """All of them, whose turn has come."""
        data = self._data
        self.drop()
        return data

    def drop(self) -> None:
        """Keep none."""
        self._listener.early -= len(self._data)
        self._data = b""
