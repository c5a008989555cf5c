"""Many sequences over one call: each line is what its own Generate call would have been."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio

from avikam.v1 import worker_pb2
from avikam.worker.frames import MOST_LOGPROBS
from tests.worker.harness import (
    PATIENCE,
    Answer,
    RunningWorker,
    api_error,
    eventually,
    generate,
    running_worker,
    sequence_request,
)


class Lines:
    """An Exchange call, and what has come for each of its lines."""

    def __init__(self, worker: RunningWorker) -> None:
        self.answers: dict[int, Answer] = {}
        self.ends: dict[int, worker_pb2.LineEnd] = {}
        self.messages = 0
        self.largest = 0
        self.closing = False
        self._call = worker.stub.Exchange()

    async def start(self, line: int, timeout_ms: int = 0, **request: Any) -> None:
        """Begin a sequence."""
        start = worker_pb2.StartSequence(
            line=line, sequence=sequence_request(**request), timeout_ms=timeout_ms
        )
        await self._call.write(worker_pb2.ExchangeRequest(start=[start]))

    async def cancel(self, *lines: int) -> None:
        """Listen no more to some lines."""
        await self._call.write(worker_pb2.ExchangeRequest(cancel=lines))

    async def hold(self, line: int) -> None:
        """Ask a line to wait."""
        await self._call.write(worker_pb2.ExchangeRequest(hold=[line]))

    async def resume(self, line: int) -> None:
        """Let a line go on."""
        await self._call.write(worker_pb2.ExchangeRequest(resume=[line]))

    async def until(self, *lines: int) -> None:
        """Read until these lines have ended, with a finish or without."""
        async with asyncio.timeout(PATIENCE):
            while not all(self._ended(line) for line in lines):
                await self.read()

    async def read(self) -> None:
        """Take in one message."""
        message = await self._call.read()
        assert isinstance(message, worker_pb2.ExchangeResponse), "the call ended too early"
        self.messages += 1
        self.closing = message.closing
        await self._call.write(worker_pb2.ExchangeRequest(read=1))
        self.largest = max(self.largest, message.ByteSize())
        for news in message.news:
            if news.HasField("end"):
                self.ends[news.line] = news.end
            else:
                self.answers.setdefault(news.line, Answer()).frames.append(news.frame)

    async def rest(self) -> None:
        """Read until the worker says that it closes."""
        while not self.closing:
            await self.read()

    def hang_up(self) -> None:
        """Be gone."""
        self._call.cancel()

    def _ended(self, line: int) -> bool:
        answer = self.answers.get(line)
        return line in self.ends or (answer is not None and answer.frames[-1].HasField("finish"))


@contextlib.asynccontextmanager
async def exchange(**worker: Any) -> AsyncIterator[tuple[RunningWorker, Lines]]:
    """A worker and one call to it."""
    async with running_worker(**worker) as running:
        lines = Lines(running)
        try:
            yield running, lines
        finally:
            lines.hang_up()


async def test_each_line_is_what_its_own_call_would_be() -> None:
    async with exchange(plan="tpot=1ms", slots=16) as (worker, lines):
        alone = [await generate(worker.stub, max_tokens=5 + seed, seed=seed) for seed in range(20)]
        for seed in range(20):
            await lines.start(seed + 1, max_tokens=5 + seed, seed=seed)

        await lines.until(*range(1, 21))

    for seed, answer in enumerate(alone):
        told = lines.answers[seed + 1]
        assert (told.tokens, told.text) == (answer.tokens, answer.text)
        assert told.finish.usage == answer.finish.usage
    assert not lines.ends


async def test_what_is_ready_together_travels_together() -> None:
    async with exchange(plan="tpot=2ms", slots=32) as (_, lines):
        for line in range(1, 33):
            await lines.start(line, max_tokens=40)

        await lines.until(*range(1, 33))

    frames = sum(len(answer.frames) for answer in lines.answers.values())
    assert lines.messages < frames / 2


async def test_a_refused_line_ends_with_its_error_and_harms_no_other() -> None:
    async with exchange() as (_, lines):
        await lines.start(1, max_tokens=8)
        await lines.start(2, temperature=9.0)
        await lines.start(3, prompt="x" * 5000)
        await lines.until(1, 2, 3)

    assert lines.answers[1].finish.usage.completion_tokens == 8
    assert (lines.ends[2].status, lines.ends[2].param) == (400, "temperature")
    assert (lines.ends[3].status, lines.ends[3].code) == (400, "context_length_exceeded")


async def test_a_full_queue_says_when_to_come_back() -> None:
    async with exchange(plan="tpot=50ms", slots=1, queue_requests=1) as (_, lines):
        for line in (1, 2, 3):
            await lines.start(line, max_tokens=100)
        await lines.until(3)

    assert lines.ends[3].status == 429
    assert lines.ends[3].retry_after_seconds > 0


async def test_a_dropped_stream_ends_without_a_word() -> None:
    async with exchange(plan="drop@3") as (_, lines):
        await lines.start(1, max_tokens=8)
        await lines.until(1)

    assert len(lines.answers[1].tokens) == 3
    assert lines.ends[1] == worker_pb2.LineEnd()


async def test_a_cancelled_line_frees_its_slot_and_unknown_ones_are_ignored() -> None:
    async with exchange(plan="tpot=20ms") as (worker, lines):
        await lines.start(1, max_tokens=1000)
        await lines.start(2, max_tokens=10)
        await eventually(lambda: worker.engine.stats().slots_used == 2)

        await lines.cancel(1, 99)
        await lines.until(2)

        await eventually(lambda: not worker.engine.stats().slots_used)


async def test_a_line_has_a_deadline() -> None:
    async with exchange(plan="tpot=20ms") as (_, lines):
        await lines.start(1, timeout_ms=100, max_tokens=1000)
        await lines.until(1)

    assert worker_pb2.LineEnd() not in lines.ends.values()
    assert 0 < len(lines.answers[1].tokens) < 100


async def test_hanging_up_ends_every_line() -> None:
    async with exchange(plan="tpot=20ms") as (worker, lines):
        for line in range(1, 9):
            await lines.start(line, max_tokens=1000)
        await eventually(lambda: worker.engine.stats().slots_used == 8)

        lines.hang_up()

        await eventually(lambda: not worker.engine.stats().slots_used)
        assert not len(worker.server.streams)


async def test_a_stopping_worker_hands_its_lines_over() -> None:
    async with exchange(plan="tpot=20ms", drain_seconds=0.1) as (worker, lines):
        await lines.start(1, max_tokens=1000)
        await eventually(lambda: worker.engine.stats().slots_used == 1)

        draining = asyncio.create_task(worker.server.drain())
        await lines.until(1)
        await draining

    assert (lines.ends[1].status, lines.ends[1].code) == (503, "migrate")


async def test_a_closing_worker_ends_the_call_after_its_last_words() -> None:
    async with exchange(plan="tpot=20ms") as (worker, lines):
        await lines.start(1, max_tokens=1000)
        await eventually(lambda: worker.engine.stats().slots_used == 1)

        stopping = asyncio.create_task(worker.server.stop())
        await lines.until(1)
        await lines.rest()
        lines.hang_up()
        await stopping

    assert lines.ends[1].code == "migrate"


async def test_a_held_line_waits_joined_while_others_go_on() -> None:
    async with exchange(plan="tpot=1ms", slots=4) as (worker, lines):
        await lines.start(1, max_tokens=400, logprobs=20)
        await lines.read()
        await lines.hold(1)
        await lines.start(2, max_tokens=400, seed=2)
        await lines.until(2)
        await eventually(lambda: not worker.engine.stats().slots_used)
        before = len(lines.answers[1].frames)
        assert not lines.answers[1].frames[-1].HasField("finish")

        await lines.resume(1)
        await lines.until(1)

    answer = lines.answers[1]
    assert len(answer.tokens) == len([p for f in answer.frames for p in f.logprobs]) == 400
    # What was held comes in as few frames as may be, behind the one that was being written when the
    # hold came.
    assert len(answer.frames) <= before + 1 + -(-400 // MOST_LOGPROBS)


async def test_a_gateway_that_reads_late_gets_joined_frames_and_none_is_lost() -> None:
    async with exchange(plan="tpot=1ms", slots=8) as (worker, lines):
        for line in range(1, 9):
            await lines.start(line, max_tokens=400, seed=line)
        await eventually(lambda: worker.engine.stats().slots_used > 0)
        await eventually(lambda: not worker.engine.stats().slots_used)
        # Nothing was read so far: four messages may have left, and the rest waits.
        await lines.until(*range(1, 9))

    assert all(len(answer.tokens) == 400 for answer in lines.answers.values())
    assert lines.messages < 20


async def test_a_line_in_use_is_refused_and_an_idle_hold_is_ignored() -> None:
    async with exchange(plan="tpot=20ms") as (worker, lines):
        await lines.start(1, max_tokens=1000)
        await eventually(lambda: worker.engine.stats().slots_used == 1)

        await lines.hold(99)
        await lines.resume(98)
        await lines.start(1, max_tokens=5)
        await lines.until(1)

        assert (lines.ends[1].status, lines.ends[1].param) == (400, "line")
        assert worker.engine.stats().slots_used == 1


async def test_bytes_that_are_no_message_end_the_call_with_a_fixed_text() -> None:
    async with running_worker() as worker:
        call = worker.channel.stream_stream("/avikam.v1.WorkerService/Exchange")()
        await call.write(b"\xff\xff\xff")
        with pytest.raises(aio.AioRpcError) as caught:
            await call.read()

        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert api_error(caught.value).code == "invalid_protobuf"
        assert (await generate(worker.stub, max_tokens=3)).tokens


async def test_more_than_a_message_may_have_travels_in_several() -> None:
    prompt = "x" * 1500
    async with exchange(slots=64) as (_, lines):
        for line in range(1, 13):
            await lines.start(line, prompt=prompt, max_tokens=8, prompt_logprobs=20)
        await lines.until(*range(1, 13))

    finishes = [lines.answers[line].finish for line in range(1, 13)]
    assert all(len(finish.prompt_logprobs) == 1501 for finish in finishes)
    assert lines.largest < 2 * max(finish.ByteSize() for finish in finishes)


async def test_two_calls_may_use_the_same_numbers() -> None:
    async with exchange() as (worker, first):
        second = Lines(worker)
        await first.start(1, max_tokens=8, seed=1)
        await second.start(1, max_tokens=8, seed=2)
        await asyncio.gather(first.until(1), second.until(1))
        second.hang_up()

    assert first.answers[1].tokens != second.answers[1].tokens
