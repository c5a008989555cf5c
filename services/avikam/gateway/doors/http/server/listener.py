"""What all connections of one listener share: their bounds, and how much of them is in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from avikam.protocol.errors import ApiError
from avikam.protocol.limits import LIMITS

# Times the limit of connections from which on not even a refusal is worth its memory.
_HOPELESS = 2


def _unheard(error: ApiError) -> None:
    """Nobody counts."""


@dataclass(slots=True)
class Listener:
    """Times are seconds. ``by_client`` counts the connections of each address.

    ``early`` is how many bytes wait that came before their turn, of all connections together.
    ``closing`` makes every reply its connection's last, so that clients come back elsewhere.
    ``on_refusal`` hears of each answer to what never became a request.
    """

    connections: int
    per_client: int
    header_seconds: float
    keep_alive_seconds: float
    slow_client_seconds: float
    on_refusal: Callable[[ApiError], None] = _unheard
    by_client: Counter[str] = field(default_factory=Counter)
    early: int = 0
    closing: bool = False

    def enter(self, address: str) -> None:
        """A connection came."""
        self.by_client[address] += 1

    def leave(self, address: str) -> None:
        """A connection went."""
        self.by_client[address] -= 1
        if not self.by_client[address]:
            del self.by_client[address]

    def is_crowded(self, connections: int, address: str) -> bool:
        """Whether a client should be told that there are too many connections."""
        return self._crowd(connections, address) > 1

    def is_hopeless(self, connections: int, address: str) -> bool:
        """Whether there are so many that a connection is not even told."""
        return self._crowd(connections, address) > _HOPELESS

    def has_room(self, size: int) -> bool:
        """Whether so many more bytes may wait for their turn."""
        return self.early + size <= LIMITS.early_bytes

    def _crowd(self, connections: int, address: str) -> float:
        return max(connections / self.connections, self.by_client[address] / self.per_client)
