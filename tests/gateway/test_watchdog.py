"""The watchdog over silent attempts, on a clock that tests turn."""

from __future__ import annotations

from dataclasses import dataclass

from avikam.gateway.resilience.watchdog import Watchdog
from tests.gateway.clock import Clock


@dataclass(eq=False)
class Watched:
    """Something that was heard at a time, and is told when that is too long ago."""

    heard: float
    looks: int = 0

    def check(self, now: float, silence: float) -> bool:
        self.looks += 1
        return now - self.heard <= silence


def test_the_watchdog_looks_at_everything_and_only_once_at_what_has_ended() -> None:
    clock = Clock()
    watchdog = Watchdog(clock, silence=3)
    silent, gone, lively = Watched(clock.now), Watched(clock.now), Watched(clock.now + 2)
    for watched in (silent, gone, lively):
        watchdog.add(watched)
    watchdog.discard(gone)

    clock.now += 3.1
    watchdog.look()
    watchdog.look()

    assert (silent.looks, gone.looks, lively.looks) == (1, 0, 2)


def test_the_watchdog_does_not_take_its_own_standing_still_for_silence() -> None:
    clock = Clock()
    watchdog = Watchdog(clock, silence=3)
    watched = Watched(clock.now)
    watchdog.add(watched)

    clock.now += 20
    watchdog.look(lag=19.75)
    clock.now += 2.5
    watchdog.look()
    assert watched.looks == 2

    clock.now += 0.4
    watchdog.look()
    watchdog.look()
    assert watched.looks == 3
