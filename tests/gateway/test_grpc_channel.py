"""What tools and idle clients expect of the gRPC port: reflection by either name, pings."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from avikam.gateway.doors.grpc.reflection import V1, V1ALPHA
from tests.gateway.harness import RunningGateway, gateway_at
from tests.worker.harness import PATIENCE, connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with gateway_at("127.0.0.1:1", grpc_port=0) as started:
        yield started


async def reflected(
    gateway: RunningGateway, service: str, request: reflection_pb2.ServerReflectionRequest
) -> reflection_pb2.ServerReflectionResponse:
    """What reflection of one name answers; its messages have the same bytes under both."""
    async with connected(f"127.0.0.1:{gateway.server.grpc_port}") as channel:
        call = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )(iter([request]), timeout=PATIENCE)
        reply: reflection_pb2.ServerReflectionResponse = await call.read()
        call.cancel()
    return reply


@pytest.mark.parametrize("service", [V1, V1ALPHA])
async def test_reflection_lists_every_service_by_either_name(
    gateway: RunningGateway, service: str
) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    listed = (await reflected(gateway, service, request)).list_services_response.service

    assert {each.name for each in listed} == {
        "avikam.v1.InferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("service", [V1, V1ALPHA])
@pytest.mark.parametrize("symbol", ["avikam.v1.InferenceService", V1, V1ALPHA])
async def test_reflection_describes_what_it_lists(
    gateway: RunningGateway, service: str, symbol: str
) -> None:
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    reply = await reflected(gateway, service, request)

    packed = reply.file_descriptor_response.file_descriptor_proto
    protos = [descriptor_pb2.FileDescriptorProto.FromString(each) for each in packed]
    assert symbol in {f"{p.package}.{s.name}" for p in protos for s in p.service}


def frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + bytes(4) + payload


async def test_pings_on_an_idle_channel_do_not_end_it(gateway: RunningGateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.grpc_port)
    writer.write(PREFACE + frame(SETTINGS))
    answered = []
    for number in range(6):
        writer.write(frame(PING, number.to_bytes(8, "big")))
        async with asyncio.timeout(PATIENCE):
            while (got := await next_frame(reader))[0] not in (PING, GOAWAY):
                pass
        answered.append(got)
        await asyncio.sleep(0.6)
    writer.close()

    assert answered == [(PING, ACK, number.to_bytes(8, "big")) for number in range(6)]


async def next_frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Kind, flags and payload."""
    head = await reader.readexactly(9)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], payload
