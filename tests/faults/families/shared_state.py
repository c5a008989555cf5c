"""F27-F31: the Redis that gateways count limits in, and workers keep cold states in, goes bad."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.faults.cluster import Layout
from tests.faults.drill import Drill, Stage, Z, like_the_first, percentile
from tests.faults.streams import End

# So many that nobody is refused: what is measured is what the counting costs.
_GENEROUS = {"redis": "{redis}", "requests_per_minute": 1_000_000}
_STRICT_LIMIT = 120
_STRICT = {"redis": "{redis}", "requests_per_minute": _STRICT_LIMIT}


async def redis_killed(stage: Stage) -> None:
    """SIGKILL for ten seconds, then back, empty."""
    stage.cluster.redis.kill()
    await _first_and_later(stage, 10)
    stage.cluster.redis.start()


async def redis_frozen(stage: Stage) -> None:
    """SIGSTOP for ten seconds."""
    stage.cluster.redis.freeze()
    try:
        await _first_and_later(stage, 10)
    finally:
        stage.cluster.redis.thaw()


async def redis_unwilling(stage: Stage) -> None:
    """Full, then read-only, then without its scripts."""
    client = stage.cluster.redis.client
    client.config_set("maxmemory", "1mb")
    await _first_and_later(stage, 4)
    client.config_set("maxmemory", "0")
    client.replicaof("127.0.0.1", "1")
    await stage.sleep(4)
    client.replicaof("NO", "ONE")
    await stage.sleep(1)
    client.script_flush()
    await stage.sleep(3)


async def redis_restarted(stage: Stage) -> None:
    """All counts are lost; nobody may get more than one further minute's worth."""
    stage.cluster.redis.kill()
    stage.cluster.redis.start()
    await stage.sleep(5)
    whole = sum(a.end is End.WHOLE for a in stage.load.answers)
    stage.figures["served_of_limit_ratio"] = whole / _STRICT_LIMIT


async def cold_tier_slow(stage: Stage) -> None:
    """Every byte of Redis comes 300 ms late: beyond what anybody waits for it."""
    proxy = stage.cluster.redis_proxy
    proxy.up.latency = proxy.down.latency = 0.15
    await stage.sleep(6)
    proxy.heal()


async def _first_and_later(stage: Stage, seconds: float) -> None:
    """How much later first tokens come than before: in the first second, and after it."""
    now = time.monotonic()
    calm = _ttft_p99(stage, 0.0, now - 0.5)
    await stage.sleep(seconds)
    stage.figures["added_first_s"] = max(_ttft_p99(stage, now, now + 1) - calm, 0.0)
    stage.figures["added_later_s"] = max(_ttft_p99(stage, now + 1, now + seconds) - calm, 0.0)


def _ttft_p99(stage: Stage, since: float, until: float) -> float:
    times = [a.first_token_seconds for a in stage.answers(since, until)]
    return percentile([seconds for seconds in times if seconds is not None], 99)


def drills() -> Iterator[Drill]:
    """This family's lines."""
    counted = Layout(workers=2, gateways=2, gateway=_GENEROUS, redis=True)
    promised = {**Z, "refused": 0, "added_first_s": 0.06, "added_later_s": 0.02}
    yield Drill(
        "F27",
        "the gateways' Redis SIGKILLed for 10 s",
        promised,
        redis_killed,
        counted,
        tokens=20,
        after=2,
    )
    yield Drill(
        "F28",
        "the gateways' Redis SIGSTOPped for 10 s",
        promised,
        redis_frozen,
        counted,
        tokens=20,
        after=2,
    )
    yield Drill(
        "F29",
        "the gateways' Redis full, read-only, without scripts",
        promised,
        redis_unwilling,
        counted,
        tokens=20,
        after=2,
    )
    yield Drill(
        "F30",
        f"Redis restarted empty at a limit of {_STRICT_LIMIT} requests/min",
        {"failed": 0, "cut": 0, "leaked": 0, "served_of_limit_ratio": 2.2},
        redis_restarted,
        Layout(workers=2, gateways=2, gateway=_STRICT, redis=True),
        rate=40,
        tokens=5,
        before=5,
        after=1,
    )
    yield Drill(
        "F31",
        "cold states (Redis is their tier) 300 ms late; real nano, greedy",
        {**Z, "refused": 0},
        cold_tier_slow,
        Layout(
            workers=2,
            redis=True,
            plan="",
            worker={
                "engine": "real",
                "threads": 1,
                "kv_redis": "{redis_proxy}",
                "kv_secret": "drill",
                "kv_host_bytes": 1_000_000,
                "kv_redis_break_even": 64,
            },
        ),
        rate=1.5,
        tokens=20,
        before=8,
        after=3,
        load={"prompt": "Le matin, la mer était calme et le port dormait encore. " * 24},
        oracle=like_the_first,
    )
