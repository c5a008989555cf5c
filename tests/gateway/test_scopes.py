"""No spelling of a request reaches a route that its key has no scope for.

Every route is asked with every key, by every method, with its path written in every way that some
parser between a client and the endpoint might read as another one. What was reached is told by the
endpoints themselves: each is replaced by one that answers with its own name.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc import aio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from avikam.gateway.access.key_file import write_keys
from avikam.gateway.access.keys import Access, Scope
from avikam.gateway.app import Gateway
from avikam.gateway.doors.grpc.methods import METHODS
from avikam.gateway.doors.grpc.server import GrpcServer
from avikam.gateway.doors.http.router import Router
from avikam.gateway.doors.http.routes import Route
from tests.gateway.harness import RunningGateway, gateway_at
from tests.gateway.test_keys import make_key
from tests.worker.harness import connected

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCOPES: tuple[Scope, ...] = ("infer", "metrics", "admin")
KEYS = {scope: make_key(f"only-{scope}", scope) for scope in SCOPES}
MAY: dict[Access, set[str]] = {
    "open": {"", "infer", "metrics", "admin"},
    "infer": {"infer", "admin"},
    "metrics": {"metrics", "admin"},
    "admin": {"admin"},
}


def encoded(path: str) -> str:
    return "/" + "".join(f"%{byte:02X}" for byte in path[1:].encode())


# How a path may be written. Those of the first kind mean the same path, those of the second do not.
SAME: dict[str, Callable[[str], str]] = {
    "plain": lambda path: path,
    "encoded": encoded,
    "encoded, small": lambda path: encoded(path).lower(),
    "one letter": lambda path: f"/{encoded('/' + path[1:2])[1:]}{path[2:]}",
    "slash at the end": lambda path: path + "/",
    "two slashes": lambda path: "/" + path,
    "encoded slash": lambda path: "/" + path[1:].replace("/", "%2F"),
    "query": lambda path: path + "?a=%0A",
    "absolute": lambda path: "http://elsewhere" + path,
    "absolute, encoded": lambda path: "http://elsewhere:80" + encoded(path),
}
OTHER: dict[str, Callable[[str], str]] = {
    "newline": lambda path: path + "%0A",
    "newline in front": lambda path: "/%0A" + path[1:],
    "return": lambda path: path + "%0D",
    "both": lambda path: path + "%0D%0A",
    "nul": lambda path: path + "%00",
    "tab": lambda path: path + "%09",
    "delete": lambda path: path + "%7F",
    "next line": lambda path: path + "%C2%85",
    "newline and slash": lambda path: path + "%0A/",
    "space": lambda path: path + "%20",
    "parameters": lambda path: path + ";a=b",
    "encoded parameters": lambda path: path + "%3Ba",
    "encoded query": lambda path: path + "%3Fa",
    "encoded fragment": lambda path: path + "%23",
    "double encoding": lambda path: encoded(path).replace("%", "%25"),
    "double newline": lambda path: path + "%250A",
    "case": lambda path: path.upper() + "X" * (path.upper() == path),
    "dot": lambda path: path + "/.",
    "dots": lambda path: "/x/.." + path,
    "encoded dots": lambda path: "/x/%2e%2e" + path,
    "backslash": lambda path: path.replace("/", "%5C"),
    "long zero": lambda path: path + "%C0%80",
    "no UTF-8": lambda path: path + "%FF",
    "matrix": lambda path: ";x" + path,
}
METHODS_TRIED = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE")


def _named(route: Route) -> Route:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("", headers={"reached": f"{route.method} {route.path}"})

    return dataclasses.replace(route, endpoint=endpoint)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """A gateway of the real layers, whose endpoints only say that they were reached."""
    path: Path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    write_keys(path, [key for _, key in KEYS.values()])
    patch = pytest.MonkeyPatch()
    routes = Gateway._routes
    patch.setattr(Gateway, "_routes", lambda self: [_named(route) for route in routes(self)])
    patch.setattr("avikam.gateway.access.gatekeeper.FailedTries.count", lambda *_: None)
    async with gateway_at("127.0.0.1:1", keys=path, grpc_port=0) as started:
        yield started
    patch.undo()


class Connection:
    """One connection on which requests are written exactly as they are given."""

    def __init__(self, gateway: RunningGateway, key: str) -> None:
        self._gateway = gateway
        secret = KEYS[key][0] if key else ""  # type: ignore[index]
        self._key = f"authorization: Bearer {secret}\r\n" if key else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, target: str) -> tuple[int, str]:
        """The status, and the name of the endpoint that was reached."""
        if self._streams is None:
            self._streams = await self._gateway.connect()
        reader, writer = self._streams
        head = (
            f"{method} {target} HTTP/1.1\r\nhost: elsewhere\r\ncontent-length: 0\r\n{self._key}\r\n"
        )
        writer.write(head.encode())
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:-2])
        if method != "HEAD":
            await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            writer.close()
            self._streams = None
        names = [line.partition(": ")[2] for line in lines if line.startswith("reached: ")]
        return int(lines[0].split()[1]), "".join(names)


def _routes(gateway: RunningGateway) -> tuple[Route, ...]:
    return gateway.server.gateway.router.routes


def _example(route: Route) -> str:
    """A path of the route."""
    start, variable, _ = route.path.partition("{")
    return start + "x" if variable else start


@pytest.mark.parametrize("key", ["", *SCOPES])
@pytest.mark.parametrize("spelling", [*SAME, *OTHER])
async def test_a_route_is_reached_by_those_who_may_and_nobody_else(
    gateway: RunningGateway, key: str, spelling: str
) -> None:
    access = {f"{route.method} {route.path}": route.access for route in _routes(gateway)}
    spell = SAME.get(spelling) or OTHER[spelling]
    connection = Connection(gateway, key)
    for route in _routes(gateway):
        plain, target = _example(route), spell(_example(route))
        for method in METHODS_TRIED:
            case = f"{method} {target} with {key or 'no'} key"
            status, reached = await connection.ask(method, target)

            assert not reached or key in MAY[access[reached]], case
            if not reached:
                assert status in (204, 400, 401, 403, 404, 405), (case, status)
            # A model's name may be anything, and what follows it is part of the name.
            if spelling in OTHER and target != plain and "{" not in reached:
                assert not reached, case


@pytest.mark.parametrize("spelling", SAME)
async def test_every_spelling_of_the_same_path_reaches_it(
    gateway: RunningGateway, spelling: str
) -> None:
    connection = Connection(gateway, "admin")
    for route in _routes(gateway):
        status, reached = await connection.ask(route.method, SAME[spelling](_example(route)))

        assert (status, reached) == (200, f"{route.method} {route.path}"), spelling


@pytest.mark.parametrize("key", ["", *SCOPES])
async def test_a_wrong_method_is_told_only_to_those_who_may_ask(
    gateway: RunningGateway, key: str
) -> None:
    connection = Connection(gateway, key)

    allowed = 405 if key == "admin" else 403 if key else 401
    assert (await connection.ask("GET", "/v1/load_lora_adapter"))[0] == allowed
    assert (await connection.ask("PUT", "/v1/load_lora_adapter/"))[0] == allowed


async def test_options_tells_the_methods_and_does_nothing(gateway: RunningGateway) -> None:
    for path, methods in (
        ("/", "GET, HEAD, POST, OPTIONS"),
        ("/v1/load_lora_adapter", "POST, OPTIONS"),
        ("/metrics", "GET, HEAD, OPTIONS"),
        ("/v1/models/", "GET, HEAD, OPTIONS"),
    ):
        reply = await gateway.client.options(path)

        assert (reply.status_code, reply.headers["allow"], reply.content) == (204, methods, b"")
    assert (await gateway.client.options("/nowhere")).status_code == 401


async def test_only_probes_are_open_and_only_they_skip_the_guard(gateway: RunningGateway) -> None:
    probes = {route.path for route in _routes(gateway) if route.probe}

    assert probes == {"/livez", "/readyz", "/health", "/health/live", "/health/ready"}


async def test_every_layer_sees_the_route_that_was_matched(gateway: RunningGateway) -> None:
    """What is shed, counted and dispatched is the route, however its path is written."""
    seen: list[str] = []
    layer: ASGIApp = gateway.server.gateway.asgi
    names = []
    while hasattr(layer, "_app"):
        names.append(type(layer).__name__)
        layer = layer._app
    connection = Connection(gateway, "infer")
    await connection.ask("POST", encoded("/generate"))
    seen.append(str(gateway.metric("requests_total", route="/generate", status="200")))
    await connection.ask("POST", "/generate%0A")

    assert names.index("KeyCheck") < names.index("Shedder")
    assert float(seen[0]) >= 1
    assert gateway.metric("requests_total", route="/generate%0A", status="404") == 0
    assert gateway.metric("requests_total", route="unknown", status="404") >= 1


async def test_no_route_can_be_declared_without_its_scope() -> None:
    async def endpoint(request: Request) -> Response:
        raise NotImplementedError

    with pytest.raises(TypeError, match="access"):
        Route("GET", "/new", endpoint)


async def test_a_route_is_declared_once() -> None:
    async def endpoint(request: Request) -> Response:
        raise NotImplementedError

    route = Route("GET", "/new", endpoint, "infer")
    with pytest.raises(ValueError, match="GET /new is declared twice"):
        Router([route, dataclasses.replace(route, access="open")])


# gRPC: the same for its methods.


async def test_every_registered_rpc_is_declared(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: set[str] = set()

    def note(server: aio.Server, handlers: Iterable[Any]) -> None:
        for handler in handlers:
            registered.update(handler._method_handlers)

    monkeypatch.setattr(aio._server.Server, "add_generic_rpc_handlers", note)
    GrpcServer(gateway.server.gateway)

    assert registered == set(METHODS)


def _mutants(method: str) -> list[str]:
    return [
        method + "\n", method + "/", "/" + method, method.upper(), method + "%0A", method + ";x",
        method.replace("/", "%2F"), method + "?a", "/x/.." + method, method[1:], method + " ",
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["", *SCOPES])
async def test_an_rpc_is_served_to_those_who_may_and_nobody_else(
    gateway: RunningGateway, key: str
) -> None:
    metadata = (("authorization", f"Bearer {KEYS[key][0]}"),) if key else ()  # type: ignore[index]
    async with connected(f"127.0.0.1:{gateway.server.grpc_port}") as channel:
        for method, declared in METHODS.items():
            code = await _code(channel, method, metadata)
            refused = code in (
                grpc.StatusCode.UNAUTHENTICATED,
                grpc.StatusCode.PERMISSION_DENIED,
            )
            assert refused == (key not in MAY[declared.access or "admin"]), (method, code)
            for mutant in _mutants(method):
                if mutant != method:
                    assert await _code(channel, mutant, metadata) != grpc.StatusCode.OK


async def _code(
    channel: aio.Channel, method: str, metadata: tuple[tuple[str, str], ...]
) -> grpc.StatusCode:
    call = channel.stream_stream(method)(metadata=metadata, timeout=5)
    try:
        await call.write(b"")
        await call.done_writing()
        await call.read()
        call.cancel()
    except (aio.AioRpcError, asyncio.InvalidStateError, ValueError, asyncio.CancelledError):
        pass
    return await call.code()


async def test_an_undeclared_rpc_is_denied_even_to_an_administrator(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = {name: each for name, each in METHODS.items() if not name.endswith("/ListModels")}
    monkeypatch.setattr("avikam.gateway.doors.grpc.interceptor.METHODS", without)
    metadata = (("x-api-key", KEYS["admin"][0]),)
    async with connected(f"127.0.0.1:{gateway.server.grpc_port}") as channel:
        code = await _code(channel, "/avikam.v1.InferenceService/ListModels", metadata)

    assert code == grpc.StatusCode.PERMISSION_DENIED
