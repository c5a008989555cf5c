"""Counts failed tries to get in, by address and by the beginning of the key that was shown.

Many clients may share the address of a proxy. So a count is for one key's beginning at one address:
what somebody else tries there does not hide from you that yours is wrong. And it never hides for
long: twenty may fail at once, and after that one every three seconds is told so again.
"""

from __future__ import annotations

from collections.abc import Callable

# Failures that are told as such at once, and how many seconds until one more may be.
_AT_ONCE = 20
_SECONDS_EACH = 3.0
# Counts remembered at the same time; the oldest is forgotten first.
_REMEMBERED = 4096
# Of a key that is not of our form, so much tells it from others without keeping its secret.
_BEGINNING = 8
# avk- and an id of at most 64 characters.
_LONGEST_NAME = 68


class FailedTries:
    """Bounded in memory; one dictionary access a failure, none for a good key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # When all failures so far would be forgotten, by address and beginning; oldest first.
        self._until: dict[tuple[str, bytes], float] = {}

    def count(self, address: str, beginning: bytes) -> float | None:
        """Note a failure; seconds until the next one is told as such when there were too many
        lately, else None."""
        now, case = self._clock(), (address, beginning)
        until = max(self._until.pop(case, now), now)
        wait = until - now - (_AT_ONCE - 1) * _SECONDS_EACH
        # Those that are not told do not push the next telling further away.
        self._until[case] = until if wait > 0 else until + _SECONDS_EACH
        if len(self._until) > _REMEMBERED:
            del self._until[next(iter(self._until))]
        return wait if wait > 0 else None


def beginning_of(presented: set[bytes]) -> bytes:
    """What names a key without being secret: ``avk-ID`` of ours, a few letters of another's; empty
    for no key, or for two."""
    if len(presented) != 1:
        return b""
    key = next(iter(presented))
    name, dash, _ = key.rpartition(b"-")
    ours = dash and name.startswith(b"avk-") and len(name) <= _LONGEST_NAME
    return name if ours else key[:_BEGINNING]
