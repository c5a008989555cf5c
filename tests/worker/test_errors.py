"""What a worker refuses, in which words, and what it never says."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from grpc import aio

from avikam.engine.fake import FakeEngine
from avikam.engine.interface import Engine
from avikam.protocol.limits import LIMITS
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import worker_pb2, worker_pb2_grpc
from avikam.worker.errors import INTERNAL_TEXT
from avikam.worker.settings import WorkerSettings
from tests.worker.harness import (
    LOOPBACK,
    OpenStream,
    RunningWorker,
    api_error,
    generate,
    running_worker,
    sequence_request,
    trailer,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
async def worker() -> AsyncIterator[RunningWorker]:
    async with running_worker() as running:
        yield running


async def refusal(worker: RunningWorker, request: worker_pb2.SequenceRequest) -> aio.AioRpcError:
    """The error a request ends with; the next request is fine."""
    with pytest.raises(aio.AioRpcError) as refused:
        await generate(worker.stub, request)
    assert (await generate(worker.stub, max_tokens=1)).tokens
    return refused.value


def chat(*turns: tuple[int, str]) -> pb.Prompt:
    messages = [pb.ChatMessage(role=role, content=text) for role, text in turns]
    return pb.Prompt(chat=pb.ChatMessages(messages=messages))


def asked(prompt: pb.Prompt | None, **fields: Any) -> worker_pb2.SequenceRequest:
    return worker_pb2.SequenceRequest(prompt=prompt, **fields)


BAD_REQUESTS = {
    "no prompt": (asked(None), "prompt", "invalid_value"),
    "no form": (asked(pb.Prompt()), "prompt", "invalid_value"),
    "empty text": (asked(pb.Prompt(text="")), "prompt", "invalid_value"),
    "no tokens": (asked(pb.Prompt(tokens=pb.TokenIds())), "prompt", "invalid_value"),
    "no turns": (asked(chat()), "messages", "invalid_value"),
    "unknown role": (asked(chat((99, "x"))), "messages[0].role", "invalid_value"),
    "unspecified role": (asked(chat((2, "x"), (0, "y"))), "messages[1].role", "invalid_value"),
    "token outside": (asked(pb.Prompt(tokens=pb.TokenIds(ids=[2**32 - 1]))), "prompt", None),
    "unknown language": (asked(pb.Prompt(text="x"), language="de"), "language", None),
    "language of a chat": (asked(chat((2, "x")), language="fr"), "language", None),
    "control character": (sequence_request(request_id="a\nb"), "request_id", None),
    "long request id": (sequence_request(request_id="a" * 129), "request_id", None),
    "not a number": (sequence_request(temperature=float("nan")), "temperature", None),
    "hot": (sequence_request(temperature=2.1), "temperature", None),
    "no tokens wanted": (sequence_request(max_tokens=0), "max_tokens", None),
    "many stops": (sequence_request(stop=[f"<{n}>" for n in range(65)]), "stop", None),
    "stop outside": (sequence_request(stop_token_ids=[10**6]), "stop_token_ids", None),
    "bias outside": (sequence_request(logit_bias={10**6: 1.0}), "logit_bias", None),
    "many logprobs": (sequence_request(logprobs=21), "logprobs", None),
    "grammar": (sequence_request(regex="a+"), "regex", None),
    "long prompt": (sequence_request("x" * 2048), "prompt", "context_length_exceeded"),
    "long answer": (sequence_request(max_tokens=2045), "prompt", "context_length_exceeded"),
    "endless prompt": (sequence_request("x" * 10**6), "prompt", "context_length_exceeded"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_request_is_refused_by_name(worker: RunningWorker, name: str) -> None:
    request, param, code = BAD_REQUESTS[name]

    error = await refusal(worker, request)

    assert error.code() == INVALID
    told = api_error(error)
    assert (told.status, told.param) == (400, param)
    assert told.code == (code or "invalid_value")
    assert told.message == error.details()


async def test_unknown_fields_of_a_newer_gateway_are_ignored(worker: RunningWorker) -> None:
    data = sequence_request(max_tokens=3, seed=1).SerializeToString() + b"\xf8\x3f\x01"
    call = worker.channel.unary_stream("/avikam.v1.WorkerService/Generate")(data)
    frames = [worker_pb2.SequenceFrame.FromString(frame) async for frame in call]
    assert frames[-1].HasField("finish")


async def test_an_adapter_nobody_loaded_is_not_found(worker: RunningWorker) -> None:
    error = await refusal(worker, asked(pb.Prompt(text="x"), adapter="poet"))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert api_error(error).code == "model_not_found"


async def test_a_full_queue_is_said_with_the_time_to_come_back() -> None:
    async with running_worker(plan="tpot=10ms", slots=1, queue_requests=1) as worker:
        streams = [OpenStream(worker.stub, sequence_request(max_tokens=500)) for _ in range(2)]
        for stream in streams:
            await stream.until(lambda answer: answer.frames)

        with pytest.raises(aio.AioRpcError) as refused:
            await generate(worker.stub, max_tokens=1)

        assert refused.value.code() == EXHAUSTED
        assert api_error(refused.value).code == "overloaded"
        assert trailer(refused.value, "avikam-status") == "429"
        assert trailer(refused.value, "avikam-retry-after") == "1"


async def test_promised_tokens_fill_the_queue_too() -> None:
    async with running_worker(plan="tpot=10ms", slots=1, queue_tokens=600) as worker:
        first = OpenStream(worker.stub, sequence_request(max_tokens=1000))
        await first.until(lambda answer: answer.frames)

        with pytest.raises(aio.AioRpcError) as refused:
            await generate(worker.stub, max_tokens=1000)

        assert refused.value.code() == EXHAUSTED


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x0b", b"\x0a\xff\xff\xff\xff\x0f"])
@pytest.mark.parametrize("method", ["Generate", "Tokenize", "Detokenize", "WatchStatus"])
async def test_bytes_that_are_no_message_are_refused(
    worker: RunningWorker, method: str, data: bytes
) -> None:
    error = await raw_error(worker, method, data)
    assert error is not None
    assert error.code() == INVALID
    assert api_error(error).code == "invalid_protobuf"


async def test_random_bytes_find_no_other_way_out(worker: RunningWorker) -> None:
    chance = random.Random(5)
    good = sequence_request("Bonjour", max_tokens=5, seed=1, stop=["x"]).SerializeToString()
    for _ in range(300):
        data = bytearray(good if chance.random() < 0.7 else chance.randbytes(chance.randrange(40)))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data) + 1) :] = chance.randbytes(chance.randrange(8))
            data += good[chance.randrange(len(good)) :]
        error = await raw_error(worker, "Generate", bytes(data))
        assert error is None or error.code() in (INVALID, grpc.StatusCode.NOT_FOUND)
        assert error is None or api_error(error).status in (400, 404)


async def raw_error(worker: RunningWorker, method: str, data: bytes) -> aio.AioRpcError | None:
    call = worker.channel.unary_stream(f"/avikam.v1.WorkerService/{method}")(data, timeout=5)
    try:
        async for _ in call:
            pass
    except aio.AioRpcError as error:
        return error
    return None


async def test_the_largest_message_is_read_and_a_larger_one_is_not(worker: RunningWorker) -> None:
    overhead = len(sequence_request("x" * LIMITS.worker_message_bytes).SerializeToString())
    fitting = "x" * (2 * LIMITS.worker_message_bytes - overhead)
    options = [("grpc.max_send_message_length", -1)]
    async with aio.insecure_channel(f"{LOOPBACK}:{worker.server.port}", options=options) as channel:
        stub: worker_pb2_grpc.WorkerServiceAsyncStub = worker_pb2_grpc.WorkerServiceStub(channel)
        with pytest.raises(aio.AioRpcError) as read:
            await generate(stub, fitting)
        with pytest.raises(aio.AioRpcError) as unread:
            await generate(stub, fitting + "x")

    assert read.value.code() == INVALID
    assert api_error(read.value).code == "context_length_exceeded"
    assert unread.value.code() == EXHAUSTED


SECRET = "/etc/secret canary 7b1e"


class LeakyEngine(FakeEngine):
    """An engine whose failures quote what they were given."""

    def encode(self, text: str, language: str | None = None) -> list[int]:
        raise RuntimeError(f"{SECRET} while reading {text!r}")

    def decode(self, tokens: Sequence[int]) -> str:
        raise KeyError(SECRET)


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def leaky(settings: WorkerSettings) -> Engine:
    return LeakyEngine()


async def test_an_unforeseen_failure_says_nothing_but_its_request_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = sequence_request("canary prompt", request_id="req-42")
    request.traceparent = f"00-{TRACE}-00f067aa0ba902b7-01"
    async with running_worker(leaky) as worker:
        with pytest.raises(aio.AioRpcError) as failed:
            await generate(worker.stub, request)
        with pytest.raises(aio.AioRpcError) as failed_too:
            await worker.stub.Detokenize(worker_pb2.DetokenizeRequest(token_ids=[100]))

    for error in (failed.value, failed_too.value):
        assert error.code() == grpc.StatusCode.INTERNAL
        assert error.details() == INTERNAL_TEXT
        assert api_error(error).code == "internal_error"
    assert "canary" not in caplog.text
    record = next(each for each in caplog.records if each.levelno == logging.ERROR)
    assert record.__dict__["request_id"] == "req-42"
    assert record.__dict__["trace_id"] == TRACE
    assert "RuntimeError" in record.getMessage()
    assert "encode" in record.getMessage()


async def test_adapters_are_refused_as_long_as_the_engine_has_none(worker: RunningWorker) -> None:
    with pytest.raises(aio.AioRpcError) as load:
        await worker.stub.LoadAdapter(worker_pb2.LoadAdapterRequest(name="poet", path="poet"))
    with pytest.raises(aio.AioRpcError) as unload:
        await worker.stub.UnloadAdapter(worker_pb2.UnloadAdapterRequest(name="poet"))

    for error in (load.value, unload.value):
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "adapters" in (error.details() or "")
