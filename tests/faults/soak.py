"""A long run under load with a random fault every ten seconds: does anything wear out?

    python -m tests.faults.soak --minutes 12 --seed 7

Prints, and writes to build/bench/soak.json: availability as clients saw it, and memory, descriptors
and slots before and after. Fails when availability is below 99.95 % or anything was lost or leaked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.faults import page
from tests.faults.cluster import Layout, LocalCluster, running
from tests.faults.drill import arithmetic, count
from tests.faults.load import Load
from tests.faults.soak_page import PAGE, soak_page
from tests.faults.streams import End

TOKENS = 60
_AVAILABILITY = 0.9995
_OUTAGE = 3.0
Fault = Callable[[LocalCluster, int], Awaitable[None]]


async def kill(cluster: LocalCluster, number: int) -> None:
    """SIGKILL and a new start."""
    cluster.workers[number].kill()
    await cluster.restart(number)


async def drain(cluster: LocalCluster, number: int) -> None:
    """SIGTERM and a new start."""
    cluster.workers[number].send(signal.SIGTERM)
    await cluster.restart(number)


async def freeze(cluster: LocalCluster, number: int) -> None:
    """SIGSTOP for a while."""
    cluster.workers[number].send(signal.SIGSTOP)
    await asyncio.sleep(_OUTAGE)
    cluster.workers[number].send(signal.SIGCONT)


async def blackhole(cluster: LocalCluster, number: int) -> None:
    """Nothing passes for a while."""
    cluster.proxies[number].blackhole()
    await asyncio.sleep(_OUTAGE)
    cluster.proxies[number].heal()


async def reset(cluster: LocalCluster, number: int) -> None:
    """RST for all connections."""
    cluster.proxies[number].reset()


async def slow_link(cluster: LocalCluster, number: int) -> None:
    """200 ms each way for a while."""
    proxy = cluster.proxies[number]
    proxy.up.latency = proxy.down.latency = 0.2
    await asyncio.sleep(_OUTAGE)
    proxy.heal()


FAULTS: tuple[Fault, ...] = (kill, drain, freeze, blackhole, reset, slow_link)


def usage(cluster: LocalCluster) -> dict[str, float]:
    """What the gateway holds."""
    process = cluster.gateway.usage()
    return {
        "gateway_rss_mib": process.memory_info().rss / 2**20,
        "gateway_descriptors": process.num_fds(),
        "gateway_threads": process.num_threads(),
    }


async def soak(minutes: float, seed: int, every: float, rate: float) -> dict[str, Any]:
    """Run it; the figures."""
    async with running(Layout(proxied=4)) as cluster:
        load = Load([cluster.gateway.url], rate=rate, tokens=TOKENS, seed=seed)
        load.leave_after = lambda rng: rng.randrange(1, TOKENS) if rng.random() < 0.1 else None
        await _warm_up(load)
        before = usage(cluster)
        load.start()
        faults = await _torment(cluster, random.Random(seed), minutes * 60, every)
        await load.stop()
        leaked = await cluster.leaked()
        # Sockets of the last clients close in their own time.
        await asyncio.sleep(6)
        return _figures(load) | {
            "minutes": minutes,
            "seed": seed,
            "faults": faults,
            "leaked": leaked,
            "before": before,
            "after": usage(cluster),
            "load_average": os.getloadavg()[1],
            "machine": page.machine(),
            "commit": page.commit(),
        }


async def _warm_up(load: Load) -> None:
    """As many requests at once as there will be: what is allocated for them stays."""
    load.burst(40)
    await load.stop()
    load.answers.clear()
    await asyncio.sleep(6)


async def _torment(
    cluster: LocalCluster, rng: random.Random, seconds: float, every: float
) -> dict[str, int]:
    """A fault at every full interval, one at a time; how often each kind struck."""
    struck = {fault.__name__: 0 for fault in FAULTS}
    end = time.monotonic() + seconds
    while (due := time.monotonic() + every) < end:
        fault = rng.choice(FAULTS)
        struck[fault.__name__] += 1
        await fault(cluster, rng.randrange(len(cluster.workers)))
        await cluster.all_ready()
        await asyncio.sleep(max(due - time.monotonic(), 0))
    return struck


def _figures(load: Load) -> dict[str, Any]:
    answers = load.answers
    stayed = [answer for answer in answers if answer.end is not End.LEFT]
    whole = count(stayed, End.WHOLE)
    expected = [(a, arithmetic(a, answers, TOKENS)) for a in answers if a.tokens]
    return {
        "requests": len(answers),
        "left": len(answers) - len(stayed),
        "whole": whole,
        "availability": whole / max(len(stayed), 1),
        "lost": sum(answer.lost(tokens) for answer, tokens in expected),
        "duplicated": sum(answer.duplicated(tokens) for answer, tokens in expected),
        "longest_gap_s": max((answer.longest_gap() for answer in answers), default=0.0),
    }


def kept(figures: dict[str, Any]) -> bool:
    """Whether nothing wore out. Memory may settle 10 % higher, descriptors not at all."""
    before, after = figures["before"], figures["after"]
    return (
        figures["availability"] >= _AVAILABILITY
        and not figures["lost"]
        and not figures["duplicated"]
        and not figures["leaked"]
        and after["gateway_rss_mib"] <= 1.1 * before["gateway_rss_mib"]
        and after["gateway_descriptors"] <= before["gateway_descriptors"] + 2
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between faults")
    parser.add_argument("--rate", type=float, default=10.0, help="arrivals per second")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks/soak.md")
    asked = parser.parse_args()
    figures = asyncio.run(soak(asked.minutes, asked.seed, asked.every, asked.rate))
    text = json.dumps({**figures, "kept": kept(figures)}, indent=1)
    results = page.RESULTS.with_name("soak.json")
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(text + "\n")
    print(text)
    if asked.page:
        PAGE.write_text(soak_page(figures, kept(figures)))
    return 0 if kept(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
