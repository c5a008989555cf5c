"""The gateway's end of the call that carries many sequences: what one line does to the others."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from avikam.gateway.api import reply
from avikam.gateway.workers.ending import LineEnded
from avikam.gateway.workers.inbox import MOST_BYTES, MOST_WAITING, Inbox
from avikam.gateway.workers.outbox import Outbox
from avikam.protocol.limits import MIB
from avikam.v1 import generation_pb2, worker_pb2
from tests.gateway.harness import gateway_at, gateway_to, serving
from tests.gateway.test_disconnect import request_bytes
from tests.worker.harness import LOOPBACK, eventually, free_port, running_worker


def start(line: int, prompt: str = "Bonjour") -> worker_pb2.StartSequence:
    """A sequence that is to begin."""
    request = worker_pb2.SequenceRequest(prompt=generation_pb2.Prompt(text=prompt))
    return worker_pb2.StartSequence(line=line, sequence=request)


def lines(message: worker_pb2.ExchangeRequest) -> list[int]:
    """The lines that a message starts."""
    return [each.line for each in message.start]


async def test_what_waits_together_leaves_together() -> None:
    outbox = Outbox()
    for line in (1, 2, 3):
        outbox.start(start(line))
    first = await outbox.take()
    outbox.cancel(1)
    outbox.hold(2, True)

    second = await outbox.take()

    assert lines(first) == [1, 2, 3]
    assert (list(second.cancel), list(second.hold), lines(second)) == ([1], [2], [])


async def test_what_has_not_left_is_taken_back() -> None:
    outbox = Outbox()
    outbox.start(start(1))
    outbox.cancel(1)
    outbox.hold(2, True)
    outbox.hold(2, False)
    outbox.start(start(3))

    assert await outbox.take() == worker_pb2.ExchangeRequest(start=[start(3)])


async def test_a_large_request_travels_alone() -> None:
    outbox = Outbox()
    for line, size in enumerate((10, MIB, 10, 10), start=1):
        outbox.start(start(line, "x" * size))

    assert [lines(await outbox.take()) for _ in range(3)] == [[1], [2], [3, 4]]


async def test_an_inbox_asks_for_a_pause_and_ends_it_when_it_has_caught_up() -> None:
    asked: list[tuple[int, bool]] = []
    inbox = Inbox(7, lambda line, on: asked.append((line, on)))
    for index in range(MOST_WAITING + 5):
        inbox.put(worker_pb2.SequenceFrame(first_index=index))
    inbox.end(LineEnded())
    assert asked == [(7, True)]

    read = [(await inbox.read()).first_index for _ in range(MOST_WAITING + 5)]

    assert read == list(range(MOST_WAITING + 5))
    assert asked == [(7, True), (7, False)]
    with pytest.raises(LineEnded):
        await inbox.read()


async def test_a_client_that_does_not_read_stops_nobody_else() -> None:
    async with serving(plan="tpot=200us", worker={"slots": 8}) as gateway:
        _, writer = await gateway.connect()
        for _ in range(4):
            # Pipelined: the replies are far more than the sockets between take.
            writer.write(request_bytes(max_tokens=1900, stream=True, logprobs=20, details=True))
        await eventually(lambda: gateway.metric("generated_tokens_total") > 10)

        texts = [await gateway.text(prompt="Bonjour", max_tokens=200, seed=1) for _ in range(5)]

        assert len(set(texts)) == 1
        writer.transport.abort()
        await gateway.idle()


async def test_a_slow_reader_gets_every_token() -> None:
    async with serving(plan="tpot=50us", worker={"slots": 8}) as gateway:
        body = {"prompt": "a", "max_tokens": 1500, "seed": 3, "logprobs": 20, "stream": True}
        whole = await gateway.stream(**body)
        async with gateway.client.stream("POST", "/generate", json=body) as response:
            # Some megabytes: they stop at a full socket, then at a held line.
            await eventually(lambda: not gateway.worker.engine.stats().slots_used)
            received = await response.aread()

    assert received.count(b"token_id") == sum(str(e).count("token_id") for e in whole.events)
    assert received.endswith(b"data: [DONE]\n\n")


async def test_a_stream_that_waits_for_a_worker_says_that_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reply, "_IDLE_SECONDS", 0.2)
    port, body = free_port(), {"prompt": "a", "max_tokens": 200, "seed": 1, "stream": True}
    async with gateway_at(f"{LOOPBACK}:{port}") as gateway, contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(running_worker(plan="tpot=10ms", port=port))
        await gateway.ready()
        async with gateway.client.stream("POST", "/generate", json=body) as response:
            lines = response.aiter_lines()
            first = await anext(lines)
            await stack.aclose()
            while not (await anext(lines)).startswith(": ping"):
                pass
            async with running_worker(plan="tpot=1ms", port=port):
                rest = [line async for line in lines]

    assert first.startswith("data: ")
    assert "data: [DONE]" in rest


async def test_sequences_that_were_on_a_broken_call_all_go_on() -> None:
    async with running_worker(plan="tpot=2ms", slots=64) as worker, gateway_to(worker) as gateway:
        wanted = [await gateway.text(prompt="Bonjour", max_tokens=400, seed=n) for n in range(12)]
        asked = [
            asyncio.create_task(gateway.text(prompt="Bonjour", max_tokens=400, seed=n))
            for n in range(12)
        ]
        await eventually(lambda: worker.engine.stats().slots_used > 0)

        (member,) = gateway.server.gateway.pool
        await member.exchange.shut()

        assert await asyncio.gather(*asked) == wanted


async def test_an_inbox_asks_for_a_pause_when_few_frames_are_large() -> None:
    asked: list[tuple[int, bool]] = []
    inbox = Inbox(7, lambda line, on: asked.append((line, on)))
    text = generation_pb2.TokenLogprob(text="a" * 100)
    large = worker_pb2.SequenceFrame(
        logprobs=[generation_pb2.TokenLogprobs(chosen=text, top=[text] * 20)]
    )

    count = MOST_BYTES // large.ByteSize() + 1
    for _ in range(count):
        inbox.put(large)
    assert asked == [(7, True)]

    for _ in range(count):
        await inbox.read()
    inbox.put(large)
    assert asked == [(7, True), (7, False)]
