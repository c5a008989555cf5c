"""A worker that says what cannot be: it fails alone, and nobody is told its lies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from avikam.v1 import generation_pb2 as pb
from avikam.v1 import worker_pb2
from tests.gateway.harness import gateway_at, gateway_to
from tests.gateway.liar import (
    STOP,
    Lie,
    Start,
    accepted,
    ended,
    honest_status,
    lying_worker,
    tokens,
)
from tests.worker.harness import eventually, running_worker

PROMPT = "Bonjour"
MAX_TOKENS = 6
HUGE = 2**32 - 1


def finish(reason: pb.FinishReason = STOP, cached: int = 0) -> worker_pb2.Finish:
    """The end of an answer."""
    return worker_pb2.Finish(reason=reason, timings=pb.Timings(cached_tokens=cached))


def logprob(token: int) -> pb.TokenLogprobs:
    """Of one token."""
    return pb.TokenLogprobs(chosen=pb.TokenLogprob(token_id=token))


LIES: dict[str, Lie] = {
    "more tokens than asked for, at once": lambda s: [accepted(s), tokens(s, [65] * 50)],
    "more tokens than asked for, one by one": lambda s: [
        accepted(s),
        *(tokens(s, [65], first=n) for n in range(MAX_TOKENS + 1)),
    ],
    "an index beyond the end": lambda s: [accepted(s), tokens(s, [65], first=HUGE)],
    "a gap": lambda s: [accepted(s), tokens(s, [65], first=3)],
    "a token that is none": lambda s: [accepted(s), tokens(s, [65, HUGE])],
    "an end for no reason": lambda s: [
        accepted(s),
        tokens(s, [65], finish=finish(pb.FINISH_REASON_UNSPECIFIED)),
    ],
    "an end for a reason of the future": lambda s: [
        accepted(s),
        tokens(s, [65], finish=worker_pb2.Finish(reason=99)),
    ],
    "a prompt that is longer than the context": lambda s: [accepted(s, HUGE), tokens(s, [65])],
    "a prompt of nothing": lambda s: [accepted(s, 0), tokens(s, [65])],
    "more cached tokens than the prompt has": lambda s: [
        accepted(s),
        tokens(s, [65], finish=finish(cached=10**6)),
    ],
    "more logprobs than tokens": lambda s: [
        accepted(s),
        tokens(s, [65], logprobs=[logprob(65)] * 1000),
    ],
    **{
        f"an error with status {status}": (lambda s, status=status: [ended(s, status)])
        for status in (1, 100, 199, 200, 204, 302, 304, 600, 999, HUGE)
    },
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_lie_counts_against_the_liar_alone_and_is_told_to_nobody(
    lie: Lie, stream: bool
) -> None:
    async with (
        running_worker() as honest,
        lying_worker(lie) as liar,
        gateway_to(liar, honest, routing="round_robin") as gateway,
    ):

        async def ask(seed: int) -> str:
            body = {"prompt": PROMPT, "max_tokens": MAX_TOKENS, "seed": seed, "ignore_eos": True}
            if not stream:
                return await gateway.text(**body)
            answer = await gateway.stream(**body)
            assert answer.done
            return answer.text

        texts = await asyncio.gather(*(ask(seed) for seed in range(12)))

        assert liar.asked > 0
        # What is plausible until the lie has been told already: no more than that may be.
        early = [text for text in texts if "LIE" in text]
        assert not early or lie is LIES["more tokens than asked for, one by one"]
        members = {member.address: member.breaker for member in gateway.server.gateway.pool}
        good, bad = members[honest.address].outcomes()
        assert (good > 0, bad) == (True, 0)
        assert members[liar.address].outcomes()[1] or members[liar.address].state.value == "open"
        assert gateway.metric("attempts_failed_total", kind="untrue") > 0
        assert gateway.server.gateway.breaker.outcomes()[1] == 0


async def test_where_everybody_lies_the_client_gets_an_error_of_ours() -> None:
    async with lying_worker(LIES["an error with status 204"]) as liar, gateway_to(liar) as gateway:
        reply = await gateway.post("/generate", prompt=PROMPT, max_tokens=MAX_TOKENS)

        assert reply.status_code == 502
        assert reply.json()["error"]["code"] == "upstream_unavailable"
        assert "LIE" not in reply.text


def status(**changes: int) -> worker_pb2.WorkerStatus:
    """An honest one but for the changes."""
    changed = honest_status()
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def changed_model(**changes: object) -> worker_pb2.WorkerStatus:
    """An honest one but for the model."""
    said = honest_status()
    for name, value in changes.items():
        setattr(said.model, name, value)
    return said


def with_adapters(count: int, name: str = "a") -> worker_pb2.WorkerStatus:
    """One with so many adapters."""
    said = honest_status()
    said.adapters.extend(pb.Adapter(name=f"{name}{n}", digest="d") for n in range(count))
    return said


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_adapters(200_000),
        lambda: with_adapters(1, name="a" * 100_000),
        lambda: status(slots_total=HUGE),
        lambda: status(queue_limit=HUGE),
        lambda: status(slots_total=0),
        lambda: changed_model(vocab_size=0),
        lambda: changed_model(max_model_len=0),
        lambda: changed_model(id=""),
        lambda: changed_model(id="m" * 10_000),
    ],
)
async def test_a_worker_whose_status_cannot_be_true_is_sent_nothing(
    make: Callable[[], worker_pb2.WorkerStatus],
) -> None:
    def answers(start: Start) -> list[worker_pb2.LineNews]:
        return [accepted(start), tokens(start, [65], finish=finish())]

    async with (
        running_worker() as honest,
        lying_worker(answers, make()) as liar,
        gateway_at(liar.address, honest.address, routing="round_robin") as gateway,
    ):
        await gateway.ready()
        texts = [await gateway.text(prompt=PROMPT, max_tokens=3, seed=n) for n in range(6)]

        assert liar.asked == 0
        assert "LIE" not in "".join(texts)
        ready = [member.address for member in gateway.server.gateway.pool.ready]
        assert ready == [honest.address]


async def test_a_worker_that_mends_its_status_is_taken_again() -> None:
    def answers(start: Start) -> list[worker_pb2.LineNews]:
        return [accepted(start), tokens(start, [65], finish=finish())]

    async with (
        lying_worker(answers, status(slots_total=0)) as liar,
        gateway_at(liar.address) as gateway,
    ):
        await asyncio.sleep(0.3)
        assert (await gateway.get("/readyz")).status_code == 503
        liar.status = honest_status()
        await eventually(lambda: bool(gateway.server.gateway.pool.ready))
        assert await gateway.text(prompt=PROMPT, max_tokens=3) == "LIE"
