"""A circuit breaker on an error *rate*, with bounded probes.

    CLOSED --(too many failures)--> OPEN --(time is up)--> HALF_OPEN --(probes pass)--> CLOSED
                                     ^                         |
                                     +-----(probes fail)-------+

The worker breaker counts attempts on one worker; the pool breaker counts what clients see. Both
are this machine with different rules. Client errors, cancellations and shed requests are neither
good nor bad: they are released, not recorded.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from avikam.gateway.resilience.window import Clock, RollingWindow


class State(Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Rules:
    """When a breaker opens and how it comes back. Times are seconds.

    It opens when more than one in ``one_in`` of at least ``min_total`` outcomes of the window
    failed, or after ``consecutive`` failures in a row. While it is warned, of ``min_warned``.

    ``outlier_score`` is for one breaker among peers: a window full of earlier successes hides a
    third of failures for two thirds of its length, a cumulative sum (Page 1954) for about eleven
    outcomes. A failure adds ``failure_weight``, a success takes one away; at this score the breaker
    opens, if its peers are well. At 1 % failures it does so by mistake once in 40,000 outcomes.
    """

    min_total: int
    min_warned: int
    consecutive: int | None = None
    outlier_score: int | None = None
    failure_weight: int = 7
    one_in: int = 5
    window: float = 10.0
    open_time: float = 5.0
    max_open_time: float = 60.0
    jitter: float = 0.2
    probes: int = 5
    probe_timeout: float = 30.0
    forgive_after: float = 60.0


WORKER_RULES = Rules(min_total=20, min_warned=20, consecutive=5, outlier_score=15)
POOL_RULES = Rules(min_total=50, min_warned=10)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to try. Outcomes of an earlier epoch say nothing about the present one."""

    epoch: int
    probe: int = 0


class Breaker:
    """See the module. ``rng`` draws the jitter of the open time; ``peers_well`` says whether what
    fails here succeeds elsewhere."""

    def __init__(
        self,
        rules: Rules,
        clock: Clock,
        rng: random.Random,
        on_change: Callable[[State], None] = lambda state: None,
        peers_well: Callable[[], bool] = lambda: False,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._peers_well = peers_well
        self._window = RollingWindow(clock, rules.window)
        self._state = State.CLOSED
        self._ticket = Ticket(epoch=0)
        self._in_a_row = 0
        self._score = 0
        self._trips = 0
        self._since = clock()
        self._open_until = 0.0
        self._warned_until = 0.0
        self._probes: dict[int, float] = {}
        self._probe_serial = 0
        self._probes_started = 0
        self._probes_passed = 0
        self._probes_failed = 0

    @property
    def state(self) -> State:
        """The state now; time alone may have changed it."""
        self._tick()
        return self._state

    def outcomes(self) -> tuple[int, int]:
        """Good and bad ones of the window that ends now."""
        self._window.advance()
        return self._window.good, self._window.bad

    def permits(self) -> bool:
        """Whether :meth:`enter` would give a ticket."""
        if self._state is State.CLOSED:
            return True
        self._tick()
        return self._state is State.HALF_OPEN and self._probes_open()

    def enter(self) -> Ticket | None:
        """Leave to try, or None. Every ticket must be recorded or released."""
        if self._state is State.CLOSED:
            return self._ticket
        if not self.permits():
            return None
        self._probes_started += 1
        self._probe_serial += 1
        self._probes[self._probe_serial] = self._clock()
        return Ticket(self._ticket.epoch, self._probe_serial)

    def record(self, ticket: Ticket, ok: bool) -> None:
        """Count an outcome. A stream is a success at its first token; if it fails later, that
        counts too."""
        if ticket.epoch != self._ticket.epoch:
            return
        if ticket.probe:
            self._record_probe(ticket, ok)
            return
        self._window.add(ok)
        self._in_a_row = 0 if ok else self._in_a_row + 1
        self._score = max(self._score - 1, 0) if ok else self._score + self._rules.failure_weight
        if not ok and self._too_many_failures():
            self.trip()

    def release(self, ticket: Ticket) -> None:
        """Give a ticket back without an outcome."""
        if ticket.epoch == self._ticket.epoch and self._probes.pop(ticket.probe, None) is not None:
            self._probes_started -= 1

    def trip(self) -> None:
        """Open now, e.g. because a heartbeat was lost."""
        if self._state is State.OPEN:
            return
        self._forgive()
        self._trips += 1
        rules = self._rules
        wait = min(rules.open_time * 2.0 ** (self._trips - 1), rules.max_open_time)
        wait *= self._rng.uniform(1 - rules.jitter, 1 + rules.jitter)
        self._open_until = self._clock() + wait
        self._enter_state(State.OPEN)

    def warn(self, seconds: float) -> None:
        """The same breaker of another gateway is open: fewer outcomes are enough for a while."""
        self._warned_until = self._clock() + seconds

    @property
    def warned(self) -> bool:
        """Whether it was, not long ago."""
        return self._clock() < self._warned_until

    def retry_after(self) -> float:
        """Seconds until it is worth asking again."""
        return max(self._open_until - self._clock(), 1.0)

    def _too_many_failures(self) -> bool:
        rules = self._rules
        if rules.consecutive is not None and self._in_a_row >= rules.consecutive:
            return True
        if rules.outlier_score is not None and self._score >= rules.outlier_score:
            # Where everybody fails now and then, going elsewhere helps nobody.
            return self._window_fails() or self._peers_well()
        return self._window_fails()

    def _window_fails(self) -> bool:
        rules, window = self._rules, self._window
        enough = rules.min_warned if self.warned else rules.min_total
        return window.total >= enough and window.bad * rules.one_in > window.total

    def _probes_open(self) -> bool:
        """Probes are counted per half-open phase: five in all, not five at a time."""
        return self._probes_started < self._rules.probes

    def _record_probe(self, ticket: Ticket, ok: bool) -> None:
        if self._probes.pop(ticket.probe, None) is None:
            return
        self._probes_passed += ok
        self._probes_failed += not ok
        allowed = self._rules.probes // self._rules.one_in
        if self._probes_failed > allowed:
            self.trip()
        elif self._probes_passed >= self._rules.probes - allowed:
            self._enter_state(State.CLOSED)

    def _tick(self) -> None:
        now = self._clock()
        if self._state is State.OPEN and now >= self._open_until:
            self._enter_state(State.HALF_OPEN)
        if self._state is State.HALF_OPEN:
            overdue = [p for p, t in self._probes.items() if now - t >= self._rules.probe_timeout]
            epoch = self._ticket.epoch
            for probe in overdue:
                self.record(Ticket(epoch, probe), ok=False)

    def _enter_state(self, state: State) -> None:
        """Every change starts a new epoch with clean counts."""
        self._state = state
        self._since = self._clock()
        self._ticket = Ticket(self._ticket.epoch + 1)
        self._window.clear()
        self._in_a_row = self._score = 0
        self._probes.clear()
        self._probes_started = self._probes_passed = self._probes_failed = 0
        self._on_change(state)

    def _forgive(self) -> None:
        """One past trip is forgotten per clean minute."""
        if self._state is State.CLOSED:
            clean = int((self._clock() - self._since) / self._rules.forgive_after)
            self._trips = max(self._trips - clean, 0)
