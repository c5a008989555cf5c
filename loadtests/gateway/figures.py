"""What is measured, and how.

rps_per_core                  requests served per CPU second of the gateway's process, saturated
stream_tokens_per_s_per_core  the same for tokens of streams; what waits for one stream while the
                              gateway serves others leaves in one event
stream_tokens_per_event       how many tokens that were
stream_stretch                a stream's mean time over the engine's
added_ms_p50, added_ms_p99    a reply's time at half of the saturated rate, less the engine's own
ratio_to_echo                 rps_per_core over that of a bare FastAPI + grpc.aio echo

``few_stream_...`` and ``tenth_...`` are the same for fewer streams and at a tenth of the saturated
rate, ``echo_...`` for the echo at the gateway's own half and tenth. ``half_load_busy_share`` is the
share of all cores' time that everything together took at half load.

Load generator, gateway and workers share the machine. CPU seconds do not depend on what the others
do, but for caches; times do: on two cores four processes wait for one another, and the load
generator's own share is in them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import orjson
import psutil

from loadtests.gateway import processes
from loadtests.gateway.connection import Reply
from loadtests.gateway.load import Outcome, closed_loop, open_loop, percentile
from loadtests.gateway.processes import Server

# Sequences of the workers, so that the gateway and not the engine is what is full.
_SLOTS, _QUEUE, _WORKERS = 1024, 4096, 2
_WARM_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of a run."""

    seconds: float = 8.0
    connections: int = 64
    tokens: int = 16
    few_streams: int = 400
    streams: int = 800
    stream_tokens: int = 128
    # How long the fake engine takes for each token of a stream (ms), and for a whole answer.
    pace: int = 20
    answer: str = "20ms"


def request(key: str = "", **body: object) -> Callable[[], bytes]:
    """Makes requests with a prompt that no other one has."""
    numbers = itertools.count()
    head = f"POST /generate HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"

    def make() -> bytes:
        data = orjson.dumps({"prompt": f"Le matin, la mer était {next(numbers)}", **body})
        kind = f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        return (head + kind).encode() + data

    return make


async def measure(plan: Plan) -> dict[str, float]:
    """All figures of a run."""
    async with processes.gateway("", _WORKERS, _SLOTS, _QUEUE) as server:
        per_core, rate = await _saturated(server, plan, max_tokens=plan.tokens)
    async with processes.gateway(f"tpot={plan.pace}ms", _WORKERS, _SLOTS, _QUEUE) as server:
        few = await _streamed(server, plan, plan.few_streams)
        many = await _streamed(server, plan, plan.streams)
    async with processes.gateway(f"ttft={plan.answer}", _WORKERS, _SLOTS, _QUEUE) as server:
        added = await _at_half_and_tenth(server, plan, rate, _less_the_engine)
    async with processes.echo() as server:
        echo_per_core, _ = await _saturated(server, plan, max_tokens=plan.tokens)
        echo_added = await _at_half_and_tenth(server, plan, rate, _whole)
    return {
        "rps_per_core": round(per_core),
        **many,
        **{f"few_{name}": value for name, value in few.items()},
        **added,
        **{f"echo_{name}": value for name, value in echo_added.items()},
        "echo_rps_per_core": round(echo_per_core),
        "ratio_to_echo": round(per_core / echo_per_core, 3),
        "saturated_rps": round(rate),
        "half_load_rps": round(rate / 2),
        "tenth_load_rps": round(rate / 10),
    }


async def _saturated(server: Server, plan: Plan, **body: object) -> tuple[float, float]:
    """Requests per CPU second of the server, and per second."""
    make = request(server.key, **body)
    await closed_loop(server.address, make, plan.connections, _WARM_SECONDS)
    before = server.cpu_seconds()
    outcome = await closed_loop(server.address, make, plan.connections, plan.seconds)
    cpu = server.cpu_seconds() - before
    served = _all_served(outcome)
    return served / cpu, served / outcome.seconds


async def _streamed(server: Server, plan: Plan, streams: int) -> dict[str, float]:
    """So many streams at once: tokens per CPU second of the server, and how they come."""
    make = request(server.key, max_tokens=plan.stream_tokens, stream=True)
    await closed_loop(server.address, make, streams, _WARM_SECONDS)
    before = server.cpu_seconds()
    outcome = await closed_loop(server.address, make, streams, plan.seconds)
    cpu = server.cpu_seconds() - before
    served = _all_served(outcome)
    tokens = served * plan.stream_tokens
    # The last two events are the account and the end.
    events = sum(reply.body.count(b"data: ") - 2 for reply in outcome.replies)
    seconds = sum(reply.seconds for reply in outcome.replies) / served
    return {
        "stream_tokens_per_s_per_core": round(tokens / cpu),
        "stream_tokens_per_event": round(tokens / events, 2),
        "stream_stretch": round(seconds * 1000 / (plan.stream_tokens * plan.pace), 3),
    }


async def _at_half_and_tenth(
    server: Server, plan: Plan, rate: float, added: Callable[[Reply], float]
) -> dict[str, float]:
    psutil.cpu_percent()
    half = await _added(server, plan, rate / 2, added)
    busy = psutil.cpu_percent() / 100
    tenth = await _added(server, plan, rate / 10, added)
    return {
        "added_ms_p50": round(percentile(half, 0.50), 2),
        "added_ms_p99": round(percentile(half, 0.99), 2),
        "half_load_busy_share": round(busy, 2),
        "tenth_added_ms_p50": round(percentile(tenth, 0.50), 2),
        "tenth_added_ms_p99": round(percentile(tenth, 0.99), 2),
    }


async def _added(
    server: Server, plan: Plan, rate: float, added: Callable[[Reply], float]
) -> list[float]:
    make = request(server.key, max_tokens=plan.tokens)
    await open_loop(server.address, make, rate, _WARM_SECONDS)
    outcome = await open_loop(server.address, make, rate, plan.seconds)
    _all_served(outcome)
    return [added(reply) for reply in outcome.replies]


def _whole(reply: Reply) -> float:
    """Milliseconds of a reply that no engine had a part in."""
    return reply.seconds * 1000


def _less_the_engine(reply: Reply) -> float:
    """Milliseconds of a reply that the engine did not take."""
    return reply.seconds * 1000 - _engine_ms(reply.body)


def _engine_ms(body: bytes) -> float:
    timings = orjson.loads(body)["timings"]
    return float(timings["queue_ms"] + timings["prefill_ms"] + timings["decode_ms"])


def _all_served(outcome: Outcome) -> int:
    """How many replies there were; a figure of a run with failures would mean nothing."""
    bad = [reply for reply in outcome.replies if reply.status != 200]
    if bad or outcome.lost:
        first = bad[0].body[:200].decode(errors="replace") if bad else "a connection broke"
        raise SystemExit(f"{len(bad) + outcome.lost} requests failed, the first one: {first}")
    return len(outcome.replies)
