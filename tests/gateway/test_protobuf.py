"""Our own messages over HTTP: in, out, streamed, and where JSON is too small."""

from __future__ import annotations

from io import BytesIO

import pytest
from google.protobuf import proto

from avikam.protocol.limits import LIMITS
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2
from tests.gateway.harness import PROTOBUF, RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


def asking(max_tokens: int, *prompts: str) -> bytes:
    """A request with a fixed seed."""
    return inference_pb2.GenerateRequest(
        prompts=[pb.Prompt(text=prompt) for prompt in prompts],
        sampling=pb.SamplingParams(max_tokens=max_tokens, seed=6),
    ).SerializeToString()


async def test_a_message_is_answered_with_one(gateway: RunningGateway) -> None:
    text = await gateway.text(prompt="Bonjour", max_tokens=20, seed=6)

    reply = await gateway.send("/generate", asking(20, "Bonjour"), content_type=PROTOBUF)

    answer = inference_pb2.GenerateResponse.FromString(reply.content)
    assert reply.headers["content-type"] == PROTOBUF
    assert [choice.text for choice in answer.choices] == [text]
    assert answer.choices[0].finish_reason == pb.FINISH_REASON_LENGTH
    assert answer.usage.completion_tokens == 20


async def test_a_stream_is_a_row_of_messages(gateway: RunningGateway) -> None:
    text = await gateway.text(prompt="Bonjour", max_tokens=40, seed=6)

    reply = await gateway.send("/generate_stream", asking(40, "Bonjour"), content_type=PROTOBUF)

    messages, source = [], BytesIO(reply.content)
    while message := proto.parse_length_prefixed(inference_pb2.GenerateStreamResponse, source):
        messages.append(message)
    *pieces, last = messages
    assert "".join(piece.delta.text for piece in pieces) == text
    assert pieces[-1].delta.finish_reason == pb.FINISH_REASON_LENGTH
    assert not last.HasField("delta")
    assert last.usage.completion_tokens == 40


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_message_may_be_answered_in_json(gateway: RunningGateway, accept: str) -> None:
    reply = await gateway.send(
        "/generate", asking(5, "Bonjour"), content_type=PROTOBUF, accept=accept
    )

    assert reply.json()["usage"]["completion_tokens"] == 5


async def test_json_may_be_answered_with_a_message(gateway: RunningGateway) -> None:
    body = '{"prompt": "Bonjour", "max_tokens": 5}'

    reply = await gateway.send("/generate", body, accept=PROTOBUF)

    answer = inference_pb2.GenerateResponse.FromString(reply.content)
    assert answer.usage.completion_tokens == 5


async def test_a_reply_beyond_a_mebibyte_is_a_message_for_who_reads_them(
    gateway: RunningGateway,
) -> None:
    body = {"prompt": ["a"] * 8, "max_tokens": 200, "logprobs": 20}

    in_json = await gateway.post("/generate", **body)
    both = await gateway.client.post(
        "/generate", json=body, headers={"accept": f"application/json, {PROTOBUF}"}
    )

    assert len(in_json.content) > 2**20
    assert in_json.headers["content-type"] == "application/json"
    assert both.headers["content-type"] == PROTOBUF
    assert len(inference_pb2.GenerateResponse.FromString(both.content).choices) == 8


async def test_a_message_may_have_more_than_json_may(gateway: RunningGateway) -> None:
    body = asking(1, *["a" * 1900] * 600)
    assert len(body) > LIMITS.json_body_bytes

    reply = await gateway.send("/generate", body, content_type=PROTOBUF)

    answer = inference_pb2.GenerateResponse.FromString(reply.content)
    assert [choice.prompt_index for choice in answer.choices] == list(range(600))


async def test_a_message_may_have_many_mebibytes(gateway: RunningGateway) -> None:
    """It is read whole; only its tokens are too many."""
    reply = await gateway.send("/generate", asking(1, "a" * 20 * 2**20), content_type=PROTOBUF)

    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "context_length_exceeded"


async def test_a_message_has_its_limit_too(gateway: RunningGateway) -> None:
    head = "POST /generate HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n"
    head += f"content-type: {PROTOBUF}\r\ncontent-length: {64 * 2**20 + 1}\r\n\r\n"

    reply = await gateway.raw(head.encode())

    assert reply.startswith(b"HTTP/1.1 413")
