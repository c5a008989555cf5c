"""What hostile clients do to sockets: send anything, read slowly or not at all, leave early."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
# Seconds that a client waits for a reply before it gives up.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway under attack, and the attacker's key."""

    host: str
    port: int
    grpc_port: int
    key: str

    @property
    def grpc(self) -> str:
        """Where its gRPC API is."""
        return f"{self.host}:{self.grpc_port}"


class Wire:
    """A bare TCP connection. What the other side said can be read also when it does not listen."""

    def __init__(self, own: socket.socket) -> None:
        self._own = own

    async def send(self, data: bytes) -> None:
        """Send it all, or as much as is taken."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._own, data)

    async def read(self, most: int = 2**20) -> bytes:
        """What comes next; nothing at the end."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._own, most)
        except OSError:
            return b""

    async def status(self) -> str:
        """The status of a reply whose beginning comes next."""
        return (await self.read(12))[9:12].decode("latin-1") or "closed"


@contextlib.asynccontextmanager
async def connection(target: Target) -> AsyncIterator[Wire]:
    """A connection that is cut, not ended, after the block."""
    own = socket.socket()
    own.setblocking(False)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        await asyncio.get_running_loop().sock_connect(own, (target.host, target.port))
        yield Wire(own)
    finally:
        own.close()


def head(target: Target, path: str, length: int, kind: str = JSON, *more: str) -> bytes:
    """The head of a POST with a body of ``length`` bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {target.host}",
        f"Authorization: Bearer {target.key}",
        f"Content-Type: {kind}",
        f"Content-Length: {length}",
        "Connection: close",
        *more,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def post(target: Target, path: str, body: bytes, kind: str = JSON, *more: str) -> str:
    """Send a request and read its reply; the status."""
    async with asyncio.timeout(PATIENCE), connection(target) as wire:
        await wire.send(head(target, path, len(body), kind, *more))
        await wire.send(body)
        status = await wire.status()
        while await wire.read():
            pass
        return status


def as_json(**fields: object) -> bytes:
    """A JSON body."""
    return json.dumps(fields).encode()


def filled(start: bytes, item: bytes, end: bytes, size: int = 2**20) -> bytes:
    """A body of just about ``size`` bytes: as many of ``item`` as it holds, with commas between."""
    count = (size - len(start) - len(end)) // (len(item) + 1)
    return start + b",".join([item] * count) + end


def raw_field(number: int, data: bytes) -> bytes:
    """A field of a protobuf message as it travels: what no stub would write, or not as quickly."""
    length, size = b"", len(data)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def ids_prompt(count: int) -> bytes:
    """A GenerateRequest with one prompt of so many token ids, eight times."""
    return raw_field(2, raw_field(2, raw_field(1, b"\x05" * count))) + b"\x20\x08"


def message(*prompts: pb.Prompt, n: int = 1, **sampling: object) -> bytes:
    """A protobuf body."""
    return inference_pb2.GenerateRequest(
        prompts=prompts,
        n=n,
        sampling=pb.SamplingParams(**sampling),  # type: ignore[arg-type]
    ).SerializeToString()
