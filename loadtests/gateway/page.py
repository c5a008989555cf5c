"""docs/benchmarks/gateway.md, written from the figures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HEAD = """# The gateway

What the gateway costs, with the fake engine behind it and the whole chain on: guard, a key file,
admission, routing over two workers, journal.

```sh
make loadtest ARGS="--overload --page"    # writes build/bench/gateway.json and this page
```

Load generator, gateway and workers share the machine's cores, so throughput is counted in CPU
seconds of the gateway's process: what one core gives that has nothing else to do.
`loadtests/gateway/figures.py` says what each figure is.
"""

_CHAIN = (
    ("rps_per_core", "requests/s per core, 16 tokens", ">= 3,000"),
    ("stream_tokens_per_s_per_core", "streamed tokens/s per core, 800 streams", ">= 30,000"),
    ("stream_tokens_per_event", "tokens per event", ""),
    ("stream_stretch", "a stream's time over the engine's", ""),
    ("few_stream_tokens_per_s_per_core", "streamed tokens/s per core, 400 streams", ""),
    ("few_stream_tokens_per_event", "tokens per event", ""),
    ("few_stream_stretch", "a stream's time over the engine's", ""),
    ("added_ms_p50", "added at half load, p50, ms", ""),
    ("added_ms_p99", "added at half load, p99, ms", "< 2"),
    ("echo_added_ms_p50", "the echo at as many requests/s, p50, ms", ""),
    ("echo_added_ms_p99", "the echo at as many requests/s, p99, ms", ""),
    ("half_load_rps", "half load, requests/s", ""),
    ("half_load_busy_share", "share of all cores busy at half load", ""),
    ("echo_half_load_busy_share", "the same with the echo", ""),
    ("tenth_added_ms_p50", "added at a tenth of the load, p50, ms", ""),
    ("tenth_added_ms_p99", "added at a tenth of the load, p99, ms", ""),
    ("echo_tenth_added_ms_p50", "the echo at as many requests/s, p50, ms", ""),
    ("echo_tenth_added_ms_p99", "the echo at as many requests/s, p99, ms", ""),
    ("echo_rps_per_core", "bare FastAPI + grpc.aio echo, requests/s per core", ""),
    ("ratio_to_echo", "ratio to the echo", ""),
)
_OVERLOAD = (
    ("peak_rps", "peak, requests/s", ""),
    ("offered_rps", "offered, requests/s", "10x"),
    ("goodput_share", "goodput, share of the peak", ">= 0.95"),
    ("failed_otherwise", "neither served nor refused", "0"),
    ("reject_ms_p50", "refusal, p50, ms", ""),
    ("reject_ms_p99", "refusal, p99, ms", "<= 50"),
    ("served_ms_p50", "served after, p50, ms", ""),
    ("recovery_seconds", "seconds until 99 % succeed again", "<= 5"),
    ("memory_growth", "growth of memory, share", "<= 0.1"),
)
_OVERLOAD_TEXT = """
## Ten times too much

Two workers with four slots each, 56 ms an answer; arrivals are Poisson, at ten times the measured
peak, for 60 s; then 0.8 times the peak. A request that would not get a place in the queue is
refused behind the key check, before anything of it is read: one look at the queue's length and at
how long it would take at the pace of the last seconds. The gateway's queue is set to 64
(`queue_requests`; 1,024 by default), so that what is served waits about half a second and not
seven.

"""
_PROFILE = """
## Where the time goes

At half load the gateway takes three quarters of a core, the two workers nearly one and the load
generator a fifth: the processes wait for one another's turn on two cores, and that wait is what is
added. At a tenth of the load, where they do not, a bare FastAPI + grpc.aio echo is above 2 ms at
p99 as well, and the gateway adds a third to a half to it. Tokens that arrive for one stream while
the gateway serves others leave in one event: the fuller a core, the fewer calls of the system a
token costs.

Shares of the samples of a loaded gateway (py-spy, `/generate` of one token, on a busy machine): a
quarter is the event loop itself with its sockets, a fifth is gRPC's own thread, an eighth the two
tasks that read and write the exchanges. A third is everything between uvicorn and the exchange;
no function of ours has more than 2 % of its own. What is left to gain is in what a request needs
of uvicorn and asyncio: a task, an event, two messages, and headers checked by regular
expressions.
"""


def page(known: Mapping[str, Any]) -> str:
    """The page for what was measured; a part that was not is left out."""
    machine = known["machine"]
    text = _HEAD + (
        f"\nMachine: {machine['cores']} virtual cores ({machine['processor']}), "
        f"Python {machine['python']}.\n\n"
    )
    if "rps_per_core" in known:
        text += _table(known, _CHAIN)
    if "overload" in known:
        text += _OVERLOAD_TEXT + _table(known["overload"], _OVERLOAD)
    return text + _PROFILE


def _table(figures: Mapping[str, Any], rows: tuple[tuple[str, str, str], ...]) -> str:
    lines = ["| | measured | target |", "|---|---|---|"]
    lines += [f"| {label} | {figures[name]:,g} | {target} |" for name, label, target in rows]
    return "\n".join(lines) + "\n"
