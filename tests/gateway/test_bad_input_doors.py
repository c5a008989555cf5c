"""The same bad request through JSON, protobuf and gRPC: one status, one code, one field."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc import aio

from avikam.client import AsyncClient, AsyncGrpcClient, AvikamError, Retries
from avikam.protocol.limits import LIMITS
from avikam.protocol.rpc_errors import from_trailers
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2
from tests.gateway.harness import PROTOBUF, RunningGateway, serving
from tests.worker.harness import LOOPBACK, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAN, ENDLESS = float("nan"), float("inf")
VOCABULARY = 1000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with serving(grpc_port=0) as started:
        yield started


@dataclass(frozen=True, slots=True)
class Bad:
    """A request that each door can carry, and what every one of them must say."""

    param: str
    status: int = 400
    code: str = "invalid_value"
    prompt: Any = "Bonjour"
    model: str = ""
    n: int = 1
    language: str = ""
    sampling: tuple[tuple[str, Any], ...] = ()


def with_sampling(name: str, value: Any, **others: Any) -> Bad:
    return Bad(name, sampling=((name, value), *others.items()))


FAMILIES = {
    "B5 max_tokens": [with_sampling("max_tokens", 0), with_sampling("max_tokens", 2**31)],
    "B7 min_tokens": [with_sampling("min_tokens", 9, max_tokens=3)],
    "B9 temperature": [with_sampling("temperature", value) for value in (-1.0, 2.1)],
    "B11 logprobs": [
        with_sampling(name, value)
        for name in ("logprobs", "prompt_logprobs")
        for value in (21, 1_000_000)
    ],
    "B13 logit_bias": [
        with_sampling("logit_bias", {5: 101.0}),
        with_sampling("logit_bias", dict.fromkeys(range(301), 1.0)),
    ],
    "penalties": [
        with_sampling("repetition_penalty", 0.0),
        with_sampling("presence_penalty", 2.1),
        with_sampling("frequency_penalty", -2.1),
    ],
    "filters": [
        with_sampling("top_p", 1.1),
        with_sampling("min_p", -0.5),
    ],
    "stop": [
        with_sampling("stop", [str(number) for number in range(65)]),
        with_sampling("stop", ["9" * 257]),
    ],
    "n": [Bad("n", n=9)],
    "B21 prompts": [
        Bad("prompt", prompt=""),
        Bad("prompt", prompt=[VOCABULARY]),
        Bad("prompt", prompt=[2**31]),
    ],
    "B29 models": [
        Bad("model", 404, "model_not_found", model=name)
        for name in ("nobody", "../x", "%2e", "a b", "\0")
    ]
    + [Bad("model", model="9" * 129)],
    "language": [Bad("language", language="de")],
    "B31 grammars": [
        Bad("json_schema", sampling=(("json_schema", '{"type": "object"}'),)),
        Bad("regex", sampling=(("regex", "(a+)+b"),)),
    ],
    "context": [
        Bad("prompt", code="context_length_exceeded", sampling=(("max_tokens", 4000),)),
        Bad("prompt", code="context_length_exceeded", prompt="x" * 5000),
    ],
}
CASES = [
    pytest.param(case, id=f"{family}-{number}")
    for family, cases in FAMILIES.items()
    for number, case in enumerate(cases)
]


@pytest.mark.parametrize("case", CASES)
async def test_every_door_says_the_same(gateway: RunningGateway, case: Bad) -> None:
    told = [
        await by_json(gateway, case),
        await by_protobuf(gateway, case),
        await by_grpc(gateway, case),
    ]

    assert [(status, code, param) for status, code, param, _ in told] == [
        (case.status, case.code, case.param)
    ] * 3
    assert all(message and "9" * 65 not in message for _, _, _, message in told)
    assert await gateway.text(prompt="Bonjour", max_tokens=2)


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "repetition_penalty"])
@pytest.mark.parametrize("value", [NAN, ENDLESS, -ENDLESS])
async def test_what_is_no_number_has_no_way_in(
    gateway: RunningGateway, name: str, value: float
) -> None:
    """JSON cannot write it; messages can."""
    case = with_sampling(name, value)

    assert (await by_protobuf(gateway, case))[:3] == (400, "invalid_value", name)
    assert (await by_grpc(gateway, case))[:3] == (400, "invalid_value", name)
    body = f'{{"prompt": "a", "{name}": {value}}}'.replace("nan", "NaN").replace("inf", "Infinity")
    reply = await gateway.send("/generate", body, content_type="application/json")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_json")


Told = tuple[int, str, str | None, str]


async def by_json(gateway: RunningGateway, case: Bad) -> Told:
    given = dict(case.sampling)
    if "logit_bias" in given:
        given["logit_bias"] = {str(token): bias for token, bias in given["logit_bias"].items()}
    body = {"prompt": case.prompt, "n": case.n, **given}
    body |= {"model": case.model} if case.model else {}
    body |= {"language": case.language} if case.language else {}
    reply = await gateway.post("/generate", **body)
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["param"], error["message"]


async def by_protobuf(gateway: RunningGateway, case: Bad) -> Told:
    async with AsyncClient(gateway.server.url, retries=Retries(0)) as client:
        return await refusal(client, case)


async def by_grpc(gateway: RunningGateway, case: Bad) -> Told:
    address = f"{LOOPBACK}:{gateway.server.grpc_port}"
    async with AsyncGrpcClient(address, retries=Retries(0)) as client:
        return await refusal(client, case)


async def refusal(client: AsyncClient | AsyncGrpcClient, case: Bad) -> Told:
    """What the client was told; it must have been told something."""
    with pytest.raises(AvikamError) as refused:
        await client.generate(
            case.prompt,
            model=case.model,
            n=case.n,
            language=case.language,
            **dict(case.sampling),
        )
    error = refused.value
    return error.status, error.code, error.param, error.message


# What only messages can say wrong


async def test_a_message_that_would_fill_the_memory_is_refused_while_it_is_bytes(
    gateway: RunningGateway,
) -> None:
    """2 MiB of empty prompts, or of empty turns of one conversation."""
    turns = pb.Prompt(chat=pb.ChatMessages(messages=[pb.ChatMessage()] * 2**20))
    conversation = inference_pb2.GenerateRequest(prompts=[turns]).SerializeToString()
    for body in (b"\x12\x00" * 2**20, conversation):
        told = await raw_by_http(gateway, body), await raw_by_grpc(gateway, body)

        assert [one[:3] for one in told] == [(400, "invalid_value", "prompt")] * 2
        assert "fields" in told[0][3]


async def test_a_message_of_another_type_or_time_is_refused(gateway: RunningGateway) -> None:
    """One that happens to parse, and one with a field that this gateway does not have."""
    later = inference_pb2.GenerateRequest(prompts=[pb.Prompt(text="a")]).SerializeToString()
    sampling = pb.SamplingParams(max_tokens=2).SerializeToString() + b"\xa0\x06\x01"
    others = (
        inference_pb2.TextTokenizeRequest(prompt=pb.Prompt(text="abc"), add_special_tokens=True),
        pb.Usage(prompt_tokens=3, completion_tokens=3),
    )
    bodies = [other.SerializeToString() for other in others]
    bodies += [later + b"\xa0\x06\x01", later + b"\x1a%c" % len(sampling) + sampling]
    for body in bodies:
        told = await raw_by_http(gateway, body), await raw_by_grpc(gateway, body)

        assert [one[:3] for one in told] == [(400, "unknown_parameter", None)] * 2, body
        assert await gateway.text(prompt="Bonjour", max_tokens=2)


async def test_a_number_beyond_its_field_is_not_cut_in_silence(gateway: RunningGateway) -> None:
    """2**32 + 3 tokens, written by hand: no stub would."""
    prompt = inference_pb2.GenerateRequest(prompts=[pb.Prompt(text="a")]).SerializeToString()
    body = prompt + b"\x1a\x06\x08\x83\x80\x80\x80\x10"
    told = await raw_by_http(gateway, body), await raw_by_grpc(gateway, body)

    assert [one[:3] for one in told] == [(400, "invalid_value", "max_tokens")] * 2


async def test_a_message_above_the_limit_is_413_and_resource_exhausted(
    gateway: RunningGateway,
) -> None:
    prompt = pb.Prompt(text="a" * (LIMITS.grpc_message_bytes + 1))
    body = inference_pb2.GenerateRequest(prompts=[prompt]).SerializeToString()

    assert (await raw_by_http(gateway, body))[:2] == (413, "body_too_large")
    async with connected(f"{LOOPBACK}:{gateway.server.grpc_port}") as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await channel.unary_unary(f"{SERVICE}/Generate", None, None)(body)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await gateway.text(prompt="Bonjour", max_tokens=2)


SERVICE = "/avikam.v1.InferenceService"


async def raw_by_http(gateway: RunningGateway, body: bytes) -> Told:
    reply = await gateway.send("/generate", body, content_type=PROTOBUF)
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["param"], error["message"]


async def raw_by_grpc(gateway: RunningGateway, body: bytes) -> Told:
    async with connected(f"{LOOPBACK}:{gateway.server.grpc_port}") as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await channel.unary_unary(f"{SERVICE}/Generate", None, None)(body)
    error = from_trailers(refused.value.details() or "", refused.value.trailing_metadata() or ())
    assert error is not None, refused.value
    return error.status, error.code, error.param, error.message
