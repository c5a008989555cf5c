"""The chaos proxy does what it says, to bytes that nothing else touches."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import pytest

from tests.faults.chaos_proxy import ChaosProxy, Toxics
from tests.worker.harness import PATIENCE, eventually

BLOCK = bytes(range(256)) * 40
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """The address of a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


@contextlib.asynccontextmanager
async def proxied() -> AsyncIterator[tuple[ChaosProxy, Peer]]:
    """A proxy before the echo, and a connection through it."""
    async with echoing() as target, ChaosProxy(target, random.Random(1)) as proxy:
        host, _, port = proxy.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield proxy, (reader, writer)
        finally:
            writer.close()


async def echo_of(peer: Peer, data: bytes) -> bytes:
    """What comes back for it."""
    reader, writer = peer
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), PATIENCE)


async def test_without_toxics_every_byte_passes_both_ways() -> None:
    async with proxied() as (proxy, peer):
        assert await echo_of(peer, BLOCK) == BLOCK
        assert (proxy.accepted, proxy.connections) == (1, 1)


async def test_the_end_of_one_direction_leaves_the_other_open() -> None:
    async with proxied() as (_, (reader, writer)):
        writer.write(BLOCK)
        writer.write_eof()

        assert await asyncio.wait_for(reader.read(-1), PATIENCE) == BLOCK


@pytest.mark.parametrize(
    "toxics",
    [
        Toxics(latency=0.05),
        Toxics(latency=0.02, jitter=0.02),
        Toxics(loss=0.5, resend=0.02),
        Toxics(slice_bytes=100),
        Toxics(bytes_per_second=200_000, slice_bytes=1000),
    ],
    ids=["latency", "jitter", "loss", "slice", "rate"],
)
async def test_slowness_changes_no_byte_and_no_order(toxics: Toxics) -> None:
    async with proxied() as (proxy, peer):
        proxy.up = proxy.down = toxics

        for _ in range(3):
            assert await echo_of(peer, BLOCK) == BLOCK


async def test_latency_is_at_least_what_was_asked_for() -> None:
    async with proxied() as (proxy, peer):
        proxy.up.latency = proxy.down.latency = 0.1
        started = time.monotonic()

        await echo_of(peer, b"x")

        assert time.monotonic() - started >= 0.2


async def test_a_blackhole_holds_everything_back_until_it_is_healed() -> None:
    async with proxied() as (proxy, (reader, writer)):
        proxy.blackhole()
        writer.write(BLOCK)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)

        proxy.heal()

        assert await asyncio.wait_for(reader.readexactly(len(BLOCK)), PATIENCE) == BLOCK


async def test_a_blackhole_of_one_direction_lets_the_other_pass() -> None:
    async with proxied() as (proxy, (reader, writer)):
        proxy.blackhole(up=False)
        writer.write(b"x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)

        assert proxy.up.blackhole is False
        assert proxy.down.blackhole is True


async def test_a_reset_is_a_reset() -> None:
    async with proxied() as (proxy, peer):
        await echo_of(peer, b"x")

        proxy.reset()

        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(peer[0].read(1), PATIENCE)
        await eventually(lambda: proxy.connections == 0)


async def test_corruption_flips_bits_and_keeps_the_length() -> None:
    async with proxied() as (proxy, peer):
        proxy.down.corrupt = 0.01

        damaged = await echo_of(peer, BLOCK)

        wrong = [a ^ b for a, b in zip(damaged, BLOCK, strict=True) if a != b]
        assert 20 < len(wrong) < 500
        assert all(bits.bit_count() == 1 for bits in wrong)


async def test_a_target_that_is_not_there_resets_its_clients() -> None:
    async with ChaosProxy("127.0.0.1:1") as proxy:
        host, _, port = proxy.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))

        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), PATIENCE)
        writer.close()
