"""A drill: one fault, injected into a running cluster under load, and what the clients saw of it.

    @drill("F1", "a worker is killed in mid-stream", {**Z, "gap_p99_s": 1.0})
    async def killed(stage: Stage) -> None:
        stage.cluster.workers[0].kill()

A promise is a table of figures and the most each may be. Figures that end in ``_s`` or ``_ratio``
are times: benchmarks measure them, tests do not look at them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from avikam.engine import fake_text
from tests.faults.cluster import Layout, LocalCluster, running
from tests.faults.load import Load
from tests.faults.streams import Answer, End

# Nothing failed, nothing ended without a word, no token was lost or came twice, nothing is left.
Z: Mapping[str, float] = {"failed": 0, "cut": 0, "lost": 0, "duplicated": 0, "leaked": 0}
# A pause that a reader of a stream notices, and a first token that is late, in seconds.
_DISTURBED = 0.5

Oracle = Callable[[Answer, Sequence[Answer], int], Sequence[int]]
Figures = dict[str, float]


def arithmetic(answer: Answer, answers: Sequence[Answer], tokens: int) -> Sequence[int]:
    """What the fake engine answers to a seed."""
    return fake_text.answer(answer.seed, 0, tokens)


def like_the_first(answer: Answer, answers: Sequence[Answer], tokens: int) -> Sequence[int]:
    """For a real engine, always asked the same: every answer is the first one."""
    return answers[0].tokens


@dataclass(slots=True)
class Stage:
    """What a drill acts on. ``figures`` may be filled with what only the drill can measure."""

    cluster: LocalCluster
    load: Load
    pace: float = 1.0
    figures: Figures = field(default_factory=dict)
    struck_at: float = 0.0
    struck_until: float = 0.0

    async def sleep(self, seconds: float) -> None:
        """Wait; quick runs wait less."""
        await asyncio.sleep(seconds * self.pace)

    def answers(self, since: float = 0.0, until: float = float("inf")) -> list[Answer]:
        """Answers that were due in a time, on the monotonic clock."""
        return [answer for answer in self.load.answers if since <= answer.due < until]


Inject = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Drill:
    """One line of the fault table."""

    id: str
    name: str
    promise: Mapping[str, float]
    inject: Inject
    layout: Layout | None
    rate: float = 10.0
    tokens: int = 100
    before: float = 3.0
    after: float = 6.0
    load: Mapping[str, object] = field(default_factory=dict)
    oracle: Oracle = arithmetic
    # Part of the quick set that runs as tests.
    quick: bool = False

    async def run(self, pace: float = 1.0, workers: int = 100) -> Figures:
        """Inject it; ``pace`` below 1 shortens the waits, ``workers`` bounds the cluster."""
        if self.layout is None:
            stage = Stage(LocalCluster.__new__(LocalCluster), Load(()), pace)
            await self.inject(stage)
            return stage.figures
        layout = replace(self.layout, workers=min(self.layout.workers, workers))
        async with running(layout) as cluster:
            urls = [gateway.url for gateway in cluster.gateways]
            load = Load(urls, rate=self.rate, tokens=self.tokens, **self.load)  # type: ignore[arg-type]
            stage = Stage(cluster, load, pace)
            return await self._run_on(stage)

    async def _run_on(self, stage: Stage) -> Figures:
        stage.load.start()
        await stage.sleep(self.before)
        stage.struck_at = time.monotonic()
        await self.inject(stage)
        stage.struck_until = stage.struck_until or time.monotonic()
        await stage.sleep(self.after)
        await stage.load.stop()
        figures = client_figures(stage, self)
        if "leaked" in self.promise:
            figures["leaked"] = await stage.cluster.leaked()
        return {**figures, **stage.figures}

    def broken(self, figures: Figures, *, times: bool = True) -> dict[str, float]:
        """Figures that are above what was promised, or missing."""
        bounds = {k: v for k, v in self.promise.items() if times or not is_time(k)}
        found = {name: figures.get(name, float("inf")) for name in bounds}
        return {name: value for name, value in found.items() if value > bounds[name]}


def is_time(figure: str) -> bool:
    """Whether a figure depends on how fast the machine is."""
    return figure.endswith(("_s", "_ratio", "_share"))


def client_figures(stage: Stage, drill: Drill) -> Figures:
    """What the clients saw."""
    answers = stage.load.answers
    struck = [a for a in answers if a.due < stage.struck_until and a.ended > stage.struck_at]
    figures: Figures = {
        "requests": len(answers),
        "failed": count(answers, End.FAILED) + count(answers, End.HANGS),
        "cut": count(answers, End.CUT),
        "refused": count(answers, End.REFUSED),
        "gap_p50_s": percentile([a.longest_gap() for a in struck], 50),
        "gap_p99_s": percentile([a.longest_gap() for a in struck], 99),
        "recovery_s": _recovery(stage, answers),
    }
    return figures | _exactness(answers, drill) | _first_tokens(stage)


def _exactness(answers: Sequence[Answer], drill: Drill) -> Figures:
    pairs = [(a, drill.oracle(a, answers, drill.tokens)) for a in answers if a.tokens]
    return {
        "lost": sum(a.lost(expected) for a, expected in pairs),
        "duplicated": sum(a.duplicated(expected) for a, expected in pairs),
    }


def _first_tokens(stage: Stage) -> Figures:
    calm = _ttft(stage.answers(until=stage.struck_at - 1.0))
    after = _ttft(stage.answers(since=stage.struck_at))
    ratio = percentile(after, 99) / percentile(calm, 99) if calm and after else 0.0
    return {"ttft_p99_s": percentile(after, 99), "ttft_ratio": ratio}


def _ttft(answers: Sequence[Answer]) -> list[float]:
    times = (answer.first_token_seconds for answer in answers)
    return [seconds for seconds in times if seconds is not None]


def _recovery(stage: Stage, answers: Sequence[Answer]) -> float:
    """Seconds from the fault to its last trace: a failure, a pause, a late first token."""
    calm = percentile(_ttft(stage.answers(until=stage.struck_at - 1.0)), 99)
    traces = [stage.struck_at]
    for answer in answers:
        if answer.ended < stage.struck_at:
            continue
        if answer.end in (End.FAILED, End.CUT, End.REFUSED, End.HANGS):
            traces.append(answer.ended)
        if (answer.first_token_seconds or 0.0) > max(_DISTURBED, 2 * calm):
            traces.append(answer.times[0])
        traces += [b for a, b in pairwise(answer.times) if b - a > _DISTURBED]
    return max(traces) - stage.struck_at


def count(answers: Sequence[Answer], end: End) -> int:
    """How many ended so."""
    return sum(answer.end is end for answer in answers)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; 0 for none."""
    ranked = sorted(values)
    return ranked[min(int(len(ranked) * percent / 100), len(ranked) - 1)] if ranked else 0.0
