"""The three doors of the gateway, asked the same thing: what comes back must not differ."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import orjson
from grpc import aio

from avikam.protocol.rpc_errors import from_trailers
from avikam.protocol.wire import text_prompt
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2, inference_pb2_grpc
from tests.gateway.harness import PROTOBUF, RunningGateway
from tests.worker.harness import connected


@dataclass(frozen=True, slots=True)
class Answer:
    """What any door says, in HTTP's words."""

    status: int
    headers: dict[str, str]
    code: str = ""
    text: str = ""

    def standing(self, kind: str) -> tuple[int, int]:
        """Limit and what remains of it."""
        return (
            int(self.headers[f"x-ratelimit-limit-{kind}"]),
            int(self.headers[f"x-ratelimit-remaining-{kind}"]),
        )


Knock = Callable[..., Coroutine[Any, Any, Answer]]


def message(prompt: str, max_tokens: int) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        prompts=[text_prompt(prompt)], sampling=pb.SamplingParams(max_tokens=max_tokens, seed=3)
    )


@contextlib.asynccontextmanager
async def door(kind: str, gateway: RunningGateway) -> AsyncIterator[Knock]:
    """``json``, ``protobuf`` or ``grpc``: a function that asks for a text.

    knock(prompt="...", max_tokens=4, **{"idempotency-key": "..."})
    """

    async def json(prompt: str = "Bonjour", max_tokens: int = 4, **headers: str) -> Answer:
        body = {"prompt": prompt, "max_tokens": max_tokens, "seed": 3}
        reply = await gateway.client.post("/generate", json=body, headers=headers)
        return answered(reply.status_code, dict(reply.headers), reply.json())

    async def protobuf(prompt: str = "Bonjour", max_tokens: int = 4, **headers: str) -> Answer:
        body = message(prompt, max_tokens).SerializeToString()
        reply = await gateway.client.post(
            "/generate", content=body, headers={**headers, "content-type": PROTOBUF}
        )
        if reply.status_code != 200:
            return answered(reply.status_code, dict(reply.headers), reply.json())
        text = inference_pb2.GenerateResponse.FromString(reply.content).choices[0].text
        return Answer(200, dict(reply.headers), text=text)

    if kind != "grpc":
        yield json if kind == "json" else protobuf
        return
    async with connected(f"127.0.0.1:{gateway.server.grpc_port}") as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)

        async def grpc(prompt: str = "Bonjour", max_tokens: int = 4, **headers: str) -> Answer:
            call = stub.Generate(message(prompt, max_tokens), metadata=tuple(headers.items()))
            try:
                reply = await call
            except aio.AioRpcError as error:
                return refused(error)
            trailing = dict(await call.trailing_metadata())
            return Answer(200, trailing, text=reply.choices[0].text)

        yield grpc


def answered(status: int, headers: dict[str, str], body: object) -> Answer:
    fields = orjson.loads(orjson.dumps(body))
    if status != 200:
        return Answer(status, headers, code=fields["error"]["code"])
    return Answer(status, headers, text=fields["text"])


def refused(error: aio.AioRpcError) -> Answer:
    metadata = {str(k): str(v) for k, v in error.trailing_metadata() or ()}
    meant = from_trailers(error.details() or "", metadata.items())
    assert meant is not None, error
    if meant.retry_after is not None:
        metadata["retry-after"] = str(meant.retry_after)
    return Answer(meant.status, metadata, code=meant.code)
