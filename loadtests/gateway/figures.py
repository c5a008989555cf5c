"""What is measured, and how.

rps_per_core                  requests served per CPU second of the gateway's process, saturated
stream_tokens_per_s_per_core  the same for tokens of streams, each streamed as it comes
added_ms_p50, added_ms_p99    a reply's time at half of the saturated rate, less the engine's own
ratio_to_echo                 rps_per_core over that of a bare FastAPI + grpc.aio echo

Load generator, gateway and workers share the machine. CPU seconds do not depend on what the others
do, but for caches; the added time does, and has the load generator's own share in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from loadtests.gateway import processes
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
    streams: int = 400
    stream_tokens: int = 128
    # How long the fake engine takes for each token of a stream, and for a whole answer.
    pace: str = "20ms"
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
    async with processes.echo() as server:
        echo = (await _saturated(server, plan, max_tokens=plan.tokens))[0]
    async with processes.gateway("", _WORKERS, _SLOTS, _QUEUE) as server:
        per_core, rate = await _saturated(server, plan, max_tokens=plan.tokens)
    async with processes.gateway(f"tpot={plan.pace}", _WORKERS, _SLOTS, _QUEUE) as server:
        tokens = await _streamed(server, plan)
    async with processes.gateway(f"ttft={plan.answer}", _WORKERS, _SLOTS, _QUEUE) as server:
        added = await _added(server, plan, rate / 2)
    return {
        "rps_per_core": round(per_core),
        "stream_tokens_per_s_per_core": round(tokens),
        "added_ms_p50": round(percentile(added, 0.50), 2),
        "added_ms_p99": round(percentile(added, 0.99), 2),
        "ratio_to_echo": round(per_core / echo, 3),
        "echo_rps_per_core": round(echo),
        "saturated_rps": round(rate),
        "half_load_rps": round(rate / 2),
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


async def _streamed(server: Server, plan: Plan) -> float:
    """Tokens per CPU second of the server, as many streams at once as the plan says."""
    make = request(server.key, max_tokens=plan.stream_tokens, stream=True)
    await closed_loop(server.address, make, plan.streams, _WARM_SECONDS)
    before = server.cpu_seconds()
    outcome = await closed_loop(server.address, make, plan.streams, plan.seconds)
    return _all_served(outcome) * plan.stream_tokens / (server.cpu_seconds() - before)


async def _added(server: Server, plan: Plan, rate: float) -> list[float]:
    """Milliseconds of each reply that the engine did not take."""
    make = request(server.key, max_tokens=plan.tokens)
    await open_loop(server.address, make, rate, _WARM_SECONDS)
    outcome = await open_loop(server.address, make, rate, plan.seconds)
    _all_served(outcome)
    return [reply.seconds * 1000 - _engine_ms(reply.body) for reply in outcome.replies]


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
