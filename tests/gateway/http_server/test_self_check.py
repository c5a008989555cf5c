"""A gateway whose HTTP packages do not fit does not start, and says which they are."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

import httptools
import pytest

from avikam.gateway.doors.http.server import self_check
from avikam.gateway.doors.http.server.connection import Connection, connections_of
from avikam.gateway.doors.http.server.self_check import SelfCheckError, check_door
from avikam.gateway.server import StartError
from tests.gateway.harness import gateway_at
from tests.gateway.http_server.memory import listener


async def test_the_door_as_it_is_passes() -> None:
    await check_door(connections_of(listener()))


class LosesBodies(Connection):
    """What uvicorn's own protocol did with a request that offers an upgrade."""

    listener = listener()

    def data_received(self, data: bytes) -> None:
        head, end, _ = data.partition(b"\r\n\r\n")
        super().data_received(head.replace(b"transfer-encoding: chunked\r\n", b"") + end)


class OtherArguments(asyncio.Protocol):
    """A package that makes its protocols in another way."""

    def __init__(self, surprise: object) -> None:
        del surprise


@pytest.mark.parametrize("protocol", [LosesBodies, OtherArguments])
async def test_a_door_that_does_not_work_is_found(
    protocol: type[asyncio.Protocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "_SECONDS", 1.0)

    with pytest.raises(SelfCheckError, match=f"uvicorn {version('uvicorn')}, httptools"):
        await check_door(protocol)


async def test_a_gateway_with_another_parser_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Renamed:
        """A parser whose methods have other names."""

        def __init__(self, collector: object) -> None:
            del collector

    monkeypatch.setattr(httptools, "HttpRequestParser", Renamed)

    with pytest.raises(StartError, match=r"constraints\.txt"):
        async with gateway_at("127.0.0.1:1"):
            pass
