"""F1-F10: workers that die, freeze, hang, or are killed by what they are asked."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator

from tests.faults import exact
from tests.faults.cluster import PACE, Layout
from tests.faults.drill import Drill, Stage, Z
from tests.faults.streams import Answer, End

FOUR = Layout()


async def killed(stage: Stage) -> None:
    """SIGKILL of one of four."""
    stage.cluster.workers[0].kill()
    stage.figures["ejected_s"] = await _until_ready(stage, 3)


async def broken_at_every_index(stage: Stage) -> None:
    """See :mod:`tests.faults.exact`."""
    async with exact.cutting_cluster() as gateway:
        for mode in exact.MODES:
            found = await exact.differing(gateway, mode, range(exact.TOKENS))
            stage.figures[f"different_{mode}"] = len(found)


async def killed_in_prefill(stage: Stage) -> None:
    """SIGKILL while sequences of the worker wait for their first token."""
    stage.cluster.workers[0].kill()


async def frozen(stage: Stage) -> None:
    """SIGSTOP, and back to life after a while: what it still had to say must reach nobody."""
    worker = stage.cluster.workers[0]
    worker.send(signal.SIGSTOP)
    await stage.sleep(10)
    worker.send(signal.SIGCONT)


async def interpreter_stuck(stage: Stage) -> None:
    """One C call keeps the interpreter's lock for six seconds; gRPC answers pings meanwhile."""
    volley = await _volley(stage, "FREEZE")
    stage.figures["detected_s"] = max(answer.longest_gap() for answer in volley)


async def loop_dead(stage: Stage) -> None:
    """The engine's loop dies of an exception, the process lives on."""
    worker = stage.cluster.workers[0]
    volley = await _volley(stage, "CRASH")
    await stage.cluster.until(lambda: not worker.alive)
    met = min(answer.times[29] for answer in volley if len(answer.times) > 29)
    stage.figures["exit_s"] = time.monotonic() - met


async def _volley(stage: Stage, word: str) -> list[Answer]:
    """Requests all over the pool; only the first worker's engine knows the word."""
    tasks = [stage.load.ask(prompt=f"{number} {word}") for number in range(12)]
    volley = stage.load.answers[-len(tasks) :]
    if word == "FREEZE":
        await asyncio.gather(*tasks)
    return volley


async def two_killed(stage: Stage) -> None:
    """SIGKILL of two of four at once."""
    for worker in stage.cluster.workers[:2]:
        worker.kill()


async def all_killed(stage: Stage) -> None:
    """SIGKILL of all; they start again after five seconds."""
    for worker in stage.cluster.workers:
        worker.kill()
    await stage.sleep(5)
    await asyncio.gather(*(stage.cluster.restart(number) for number in range(4)))
    ready = time.monotonic()
    await stage.sleep(10)
    late = stage.answers(since=ready, until=ready + 5)
    bad = sum(answer.end in (End.FAILED, End.CUT, End.REFUSED) for answer in late)
    stage.figures["refused_later_share"] = bad / max(len(late), 1)
    stage.figures["hanging"] = sum(a.end is End.HANGS and a.ended > 0 for a in stage.load.answers)


async def crash_loop(stage: Stage) -> None:
    """One worker dies three seconds after each start."""
    for _ in range(4):
        stage.cluster.workers[0].kill()
        await stage.cluster.restart(0)
        await stage.sleep(3)


async def _poisoned(stage: Stage, word: str) -> None:
    """A request that kills the worker that computes it, and supervisors that restart workers."""
    stage.load.ask(prompt=word)
    answer = stage.load.answers[-1]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while not answer.ended:
                await _start_the_dead(stage)
    await stage.sleep(1)
    await _start_the_dead(stage)
    await stage.cluster.all_ready()
    _count_deaths(stage, answer)


async def _start_the_dead(stage: Stage) -> None:
    """A second after it died, as a supervisor would."""
    dead = [worker for worker in stage.cluster.workers if not worker.alive]
    await asyncio.sleep(1.0 if dead else 0.05)
    for worker in dead:
        await worker.start()


def _count_deaths(stage: Stage, poison: Answer) -> None:
    workers = stage.cluster.workers
    stage.figures["deaths"] = sum(worker.starts - 1 for worker in workers)
    stage.figures["poison_not_500"] = int(poison.status != 500)
    # The poison's own end is not an innocent's failure.
    stage.load.answers.remove(poison)


async def poison_in_prefill(stage: Stage) -> None:
    """It kills before its first token."""
    await _poisoned(stage, "POISON")


async def poison_in_decode(stage: Stage) -> None:
    """It kills at its token 30."""
    await _poisoned(stage, "VENOM")
    stage.figures.pop("poison_not_500")


def drills() -> Iterator[Drill]:
    """This family's lines."""
    gap = {**Z, "gap_p99_s": 4.0}
    freezing = Layout(plans={0: f"{PACE},freeze=6s@30~FREEZE"})
    crashing = Layout(plans={0: f"{PACE},crash@30~CRASH"})
    poisonous = Layout(plan=f"{PACE},die@0~POISON,die@30~VENOM")
    slow_start = Layout(plan="ttft=600ms,tpot=20ms")
    yield Drill(
        "F1",
        "one of four workers SIGKILLed in mid-stream",
        {**Z, "gap_p99_s": 1.0, "ejected_s": 0.1},
        killed,
        FOUR,
        quick=True,
    )
    yield Drill(
        "F1x",
        f"the stream breaks at each of {exact.TOKENS} indexes x {len(exact.MODES)} ways to sample "
        "(real model; answers that differ)",
        {f"different_{mode}": 0 for mode in exact.MODES},
        broken_at_every_index,
        None,
    )
    yield Drill(
        "F2",
        "SIGKILL before the first token",
        {**Z, "ttft_ratio": 2.0},
        killed_in_prefill,
        slow_start,
    )
    yield Drill("F3", "a worker SIGSTOPped for 10 s, then CONT", gap, frozen, FOUR)
    yield Drill(
        "F4",
        "interpreter lock held for 6 s by a C call",
        {**gap, "detected_s": 3.5},
        interpreter_stuck,
        freezing,
    )
    yield Drill(
        "F5",
        "engine loop dead, gRPC alive",
        {**Z, "exit_s": 2.0},
        loop_dead,
        crashing,
    )
    yield Drill("F6", "two of four SIGKILLed together", {**Z}, two_killed, FOUR)
    yield Drill(
        "F7",
        "all four SIGKILLed, back after 5 s",
        {"cut": 0, "lost": 0, "duplicated": 0, "leaked": 0, "refused_later_share": 0.01},
        all_killed,
        FOUR,
        after=2,
    )
    yield Drill("F8", "crash loop: a worker dies every 3 s", Z, crash_loop, FOUR, after=3)
    yield Drill(
        "F9",
        "a poison request kills in prefill",
        {**Z, "deaths": 2, "poison_not_500": 0},
        poison_in_prefill,
        poisonous,
        after=2,
    )
    yield Drill(
        "F10",
        "a poison request kills at token 30",
        {**Z, "deaths": 3},
        poison_in_decode,
        poisonous,
        after=2,
    )


async def _until_ready(stage: Stage, wanted: int) -> float:
    began = time.monotonic()
    while await stage.cluster.ready_workers() > wanted:
        await asyncio.sleep(0.01)
    return time.monotonic() - began
