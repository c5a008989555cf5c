"""What is measured of every engine, and how: rounds that take turns, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

CONTEXT = 256  # tokens before every measured step, and the length of the measured prompt
STREAMS = 16


class Peer(Protocol):
    """An engine with a model of random weights, ready to be timed."""

    name: str
    parameters: int

    def prefill(self) -> None:
        """Compute a prompt of CONTEXT tokens from nothing, and its next token."""

    def begin(self, streams: int) -> None:
        """Bring ``streams`` sequences to CONTEXT tokens."""

    def step(self) -> None:
        """One token more for each of them, greedily."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens per second, over all streams."""

    decode_1: float
    decode_16: float
    prefill_256: float


def measure(peers: Iterable[Peer], rounds: int, seconds: float) -> dict[str, Speed]:
    """Speeds by name. Peers take turns, so that what else the machine does meets all of them."""
    peers = list(peers)
    runs: dict[str, list[Speed]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            runs[peer.name].append(_speed(peer, seconds))
    return {name: _median(speeds) for name, speeds in runs.items()}


def _speed(peer: Peer, seconds: float) -> Speed:
    prefill = CONTEXT / _seconds(peer.prefill, seconds)
    rates = []
    for streams in (1, STREAMS):
        peer.begin(streams)
        rates.append(streams / _seconds(peer.step, seconds))
    return Speed(rates[0], rates[1], prefill)


def _median(speeds: list[Speed]) -> Speed:
    return Speed(
        *(
            statistics.median(getattr(speed, name) for speed in speeds)
            for name in ("decode_1", "decode_16", "prefill_256")
        )
    )


def _seconds(work: Callable[[], None], budget: float) -> float:
    """Median seconds of one call, after two to warm up; at most 100 calls."""
    work()
    work()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - started < budget and len(times) < 100):
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return statistics.median(times)
