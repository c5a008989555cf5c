"""What the protocol knows of a client and the ASGI application wants to: whether it is still there.

ASGI tells of a client's leaving only to who waits in ``receive``, which takes a task for every
request. The protocol leaves a :class:`Presence` in the scope instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_KEY = "avikam.presence"
_ARRIVED = "avikam.arrived"
_CROWDED = "avikam.crowded"


class Presence:
    """One connection's client."""

    __slots__ = ("_watchers", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._watchers: set[Callable[[], None]] = set()

    def watch(self, on_leaving: Callable[[], None]) -> None:
        """Call once when the client leaves; at once if it has left."""
        self._watchers.add(on_leaving)
        if self.gone:
            self.leave()

    def unwatch(self, on_leaving: Callable[[], None]) -> None:
        """Call no more."""
        self._watchers.discard(on_leaving)

    def leave(self) -> None:
        """The connection is gone."""
        self.gone = True
        watchers, self._watchers = self._watchers, set()
        for on_leaving in watchers:
            on_leaving()


def put_presence(scope: Any, presence: Presence) -> None:
    """Attach a connection's presence to the scope of one of its requests."""
    scope[_KEY] = presence


def presence_of(scope: Any) -> Presence:
    """The client of a request."""
    presence: Presence = scope[_KEY]
    return presence


def note_arrival(scope: Any) -> None:
    """The whole body of the request is here."""
    scope[_ARRIVED] = True


def has_arrived(scope: Any) -> bool:
    """Whether the first ``receive`` gives the whole body at once."""
    return _ARRIVED in scope


def note_crowd(scope: Any) -> None:
    """The request's connection is one too many."""
    scope[_CROWDED] = True


def is_crowded(scope: Any) -> bool:
    """Whether there are more connections than should be: only probes are served on it."""
    return _CROWDED in scope
