"""Requests that look small, or legal, and try to cost the gateway far more than they should.

Each shape is sent again and again by some clients at once. What comes back is counted by status;
none of it is judged here but by what it did to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache

import grpc

from avikam.protocol.limits import MIB
from avikam.v1 import generation_pb2 as pb
from tests.hostile.wire import (
    JSON,
    PATIENCE,
    PROTOBUF,
    Target,
    as_json,
    connection,
    filled,
    head,
    ids_prompt,
    message,
    post,
    raw_field,
)

Send = Callable[[Target, int], Awaitable[str]]
"""Sends one request, of a client's number-th; says how it ended."""


@dataclass(frozen=True, slots=True)
class Shape:
    """``prepare`` makes what is sent, which may take seconds."""

    send: Send
    prepare: Callable[[], object] = lambda: None


_GENERATE = "/avikam.v1.InferenceService/Generate"
_BIAS = {str(token): 1.0 for token in range(300)}


def _posted(path: str, body: Callable[[], bytes], kind: str = JSON) -> Shape:
    made = cache(body)

    async def send(target: Target, number: int) -> str:
        return await post(target, path, made(), kind)

    return Shape(send, made)


def _called(body: Callable[[], bytes], compression: grpc.Compression | None = None) -> Shape:
    made = cache(body)

    async def send(target: Target, number: int) -> str:
        async with grpc.aio.insecure_channel(
            target.grpc,
            options=[("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)],
        ) as channel:
            call = channel.unary_unary(_GENERATE, None, None)(
                made(),
                metadata=(("x-api-key", target.key),),
                timeout=PATIENCE,
                compression=compression,
            )
            return str((await call.code()).name)

    return Shape(send, made)


async def _silent_call(target: Target, number: int) -> str:
    """A call whose message never comes."""
    async with grpc.aio.insecure_channel(
        target.grpc, options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        call = channel.stream_unary(_GENERATE, None, None)(
            None, metadata=(("x-api-key", target.key),), timeout=3
        )
        await asyncio.sleep(3)
        call.cancel()
    return "silent"


def _unread(**fields: object) -> Shape:
    """A streamed answer that nobody reads; with ``key``, under an Idempotency-Key."""
    key = fields.pop("key", None)
    body = as_json(**fields)

    async def send(target: Target, number: int) -> str:
        more = [f"Idempotency-Key: {key}-{id(body)}-{number}"] if key else []
        async with asyncio.timeout(PATIENCE), connection(target) as wire:
            await wire.send(head(target, "/generate", len(body), JSON, *more) + body)
            status = await wire.status()
            await asyncio.sleep(3)
            return status

    return Shape(send)


async def _left(target: Target, number: int) -> str:
    """A long answer under an Idempotency-Key whose client leaves at once."""
    body = as_json(prompt="Bonjour", max_tokens=1900, ignore_eos=True)
    key = f"Idempotency-Key: left-{number}-{asyncio.get_running_loop().time()}"
    async with connection(target) as wire:
        await wire.send(head(target, "/generate", len(body), JSON, key) + body)
        await asyncio.sleep(0.06)
    return "left"


async def _dripping(target: Target, number: int) -> str:
    """A large body of which a few bytes come at a time."""
    async with connection(target) as wire:
        await wire.send(head(target, "/generate", 60 * MIB, PROTOBUF))
        for _ in range(40):
            await wire.send(b"\x12\x40" * 2048)
            await asyncio.sleep(0.1)
    return "cut"


async def _pipelined(target: Target, number: int) -> str:
    """Thousands of requests in one segment, without a key, whose replies are not read."""
    async with asyncio.timeout(PATIENCE), connection(target) as wire:
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 9000)
        await asyncio.sleep(2)
    return "unread"


async def _headers(target: Target, number: int) -> str:
    """Headers without end, without a key."""
    async with asyncio.timeout(PATIENCE), connection(target) as wire:
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
        for _ in range(20):
            await wire.send(b"a:b\r\n" * 5000)
            await asyncio.sleep(0.1)
        return await wire.status()


def _prompt(text: str) -> pb.Prompt:
    return pb.Prompt(text=text)


SHAPES: Mapping[str, Shape] = {
    "4,096 prompts x 8, each with 300 biases": _posted(
        "/generate",
        lambda: as_json(prompt=["a"] * 4096, n=8, max_tokens=1, logit_bias=_BIAS),
    ),
    "the same, streamed": _posted(
        "/generate",
        lambda: as_json(prompt=["a"] * 4096, n=8, max_tokens=4, logit_bias=_BIAS, stream=True),
    ),
    "1,024 prompts x 8 with a 60 KB schema": _posted(
        "/generate",
        lambda: as_json(
            prompt=["a"] * 1024, n=8, max_tokens=1, json_schema={"description": "x" * 60_000}
        ),
    ),
    "64 prompts x 8 x 1,900 tokens, logprobs 20": _posted(
        "/generate",
        lambda: as_json(prompt=["a"] * 64, n=8, max_tokens=1900, logprobs=20, ignore_eos=True),
    ),
    "1,900 tokens, logprobs 20": _posted(
        "/generate", lambda: as_json(prompt="a", max_tokens=1900, logprobs=20, ignore_eos=True)
    ),
    "a text of 24 MiB": _posted(
        "/generate", lambda: message(_prompt("a" * (24 * MIB)), n=8), PROTOBUF
    ),
    "8 MiB of token ids": _posted("/generate", lambda: ids_prompt(8 * MIB), PROTOBUF),
    "16 MiB of empty prompts": _posted("/generate", lambda: b"\x12\x00" * (8 * MIB), PROTOBUF),
    "16 MiB of empty turns": _posted(
        "/generate", lambda: raw_field(2, raw_field(3, b"\x0a\x00" * (8 * MIB))), PROTOBUF
    ),
    "1 MiB of stops that are numbers": _posted(
        "/generate", lambda: filled(b'{"prompt":"a","stop":[', b"1", b"]}")
    ),
    "1 MiB of stops that are lists": _posted(
        "/generate", lambda: filled(b'{"prompt":"a","stop":[', b"[]", b"]}")
    ),
    "1 MiB of messages that are empty": _posted(
        "/v1/chat/completions", lambda: filled(b'{"messages":[', b"{}", b"]}")
    ),
    "1 MiB of prompts of one token": _posted(
        "/v1/completions", lambda: filled(b'{"prompt":[', b"[5]", b"]}")
    ),
    "1 MiB of nested lists": _posted(
        "/generate", lambda: b'{"prompt":' + b"[" * (MIB // 2 - 8) + b"]" * (MIB // 2 - 8) + b"}"
    ),
    "1 MiB of text to tokenize": _posted("/tokenize", lambda: as_json(prompt="a" * (MIB - 64))),
    "400,000 ids to write out": _posted(
        "/detokenize", lambda: filled(b'{"tokens":[', b"5", b"]}", 800_000)
    ),
    "gRPC: 16 MiB in 16 KB of gzip": _called(
        lambda: message(_prompt("a" * (16 * MIB))), compression=grpc.Compression.Gzip
    ),
    "gRPC: 7 MiB of token ids, n 8": _called(lambda: ids_prompt(7 * MIB)),
    "gRPC: 12 MiB": _called(lambda: message(_prompt("a" * (12 * MIB)))),
    "gRPC: a message that never comes": Shape(_silent_call),
    "a stream that nobody reads": _unread(
        prompt=["a"] * 4, n=8, max_tokens=1900, logprobs=20, ignore_eos=True, stream=True
    ),
    "the same under an Idempotency-Key": _unread(
        prompt=["a"] * 4,
        n=8,
        max_tokens=1900,
        logprobs=20,
        ignore_eos=True,
        stream=True,
        key="unread",
    ),
    "idempotent work that is left at once": Shape(_left),
    "a body that drips": Shape(_dripping),
    "9,000 pipelined requests, no key": Shape(_pipelined),
    "headers without end, no key": Shape(_headers),
}
