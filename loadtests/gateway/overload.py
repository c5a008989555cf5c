"""Ten times what the workers bear: what is served then, how fast the rest is refused, and how soon
all is well again.

peak      a closed loop with twice as many clients as the workers take at once
overload  an open loop at ``factor`` times the peak
recovery  an open loop at 0.8 times the peak, right after; seconds until 99 % of a second succeed
"""

from __future__ import annotations

from dataclasses import dataclass

from loadtests.gateway import processes
from loadtests.gateway.figures import request
from loadtests.gateway.load import Outcome, closed_loop, open_loop, percentile

_TOKENS = 16
_REFUSED = (429, 503)


@dataclass(frozen=True, slots=True)
class Overload:
    """Sizes of a run: two workers with a few slots, so that ten times what they bear is little
    enough for the machine that has to send it, too."""

    factor: float = 10.0
    seconds: float = 60.0
    peak_seconds: float = 10.0
    recovery_seconds: float = 15.0
    workers: int = 2
    slots: int = 4
    queue: int = 8
    # Of the gateway: two and a half times what the workers take at once, about a second of work.
    waiting: int = 64
    plan: str = "ttft=40ms,tpot=1ms"


async def measure(sizes: Overload) -> dict[str, float]:
    """All figures of a run."""
    async with processes.gateway(
        sizes.plan, sizes.workers, sizes.slots, sizes.queue, queue_requests=sizes.waiting
    ) as server:
        make = request(server.key, max_tokens=_TOKENS)
        clients = 2 * sizes.workers * sizes.slots
        quiet = await closed_loop(server.address, make, clients, sizes.peak_seconds)
        peak = len(quiet.with_status(200)) / quiet.seconds
        memory = server.process.memory_info().rss
        loaded = await open_loop(server.address, make, sizes.factor * peak, sizes.seconds)
        memory_after = server.process.memory_info().rss
        after = await open_loop(server.address, make, 0.8 * peak, sizes.recovery_seconds)
    return {
        "peak_rps": round(peak, 1),
        "offered_rps": round((len(loaded.replies) + loaded.lost) / loaded.seconds, 1),
        "goodput_share": round(_goodput(loaded) / peak, 3),
        "failed_otherwise": _failed_otherwise(loaded),
        **_times("reject_ms", loaded, *_REFUSED),
        **_times("served_ms", loaded, 200),
        "recovery_seconds": recovery(after),
        "memory_growth": round(memory_after / memory - 1, 3),
    }


def _goodput(outcome: Outcome) -> float:
    """Answers per second that came while the load lasted."""
    started = min(reply.sent for reply in outcome.replies)
    within = [r for r in outcome.with_status(200) if r.ended < started + outcome.seconds]
    return len(within) / outcome.seconds


def _failed_otherwise(outcome: Outcome) -> int:
    """Neither served nor refused: none of these may be."""
    return outcome.lost + len(outcome.replies) - len(outcome.with_status(200, *_REFUSED))


def _times(name: str, outcome: Outcome, *statuses: int) -> dict[str, float]:
    times = [reply.seconds * 1000 for reply in outcome.with_status(*statuses)]
    return {
        f"{name}_p50": round(percentile(times, 0.5), 1),
        f"{name}_p99": round(percentile(times, 0.99), 1),
    }


def recovery(outcome: Outcome) -> float:
    """The first second from which on 99 % of what was sent in each second is served."""
    started = min(reply.sent for reply in outcome.replies)
    bad = 0
    for second in range(int(outcome.seconds)):
        sent = [r for r in outcome.replies if second <= r.sent - started < second + 1]
        if sum(r.status == 200 for r in sent) < 0.99 * len(sent):
            bad = second + 1
    return float(bad)
