"""Before it listens, the door takes one request with a body: the packages below it must fit.

uvicorn and httptools are other people's. Should a version of theirs no longer work with ours, every
request would fail; the gateway says so at its start instead.
"""

from __future__ import annotations

import asyncio
import socket
from importlib.metadata import version

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

_BODY = b"0123456789"
_REQUEST = (
    b"POST /check?a=b HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    b"transfer-encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n"
)
_SECONDS = 10.0


class SelfCheckError(Exception):
    """The door does not work; the message says with which packages."""


async def check_door(protocol: type[asyncio.Protocol]) -> None:
    """Send the protocol a request with a body, as a client would.

    Raises :class:`SelfCheckError`.
    """
    config = uvicorn.Config(_echo, http=protocol, lifespan="off", ws="none", log_config=None)
    try:
        config.load()
        async with asyncio.timeout(_SECONDS):
            reply = await _ask(config)
    except Exception as error:
        raise SelfCheckError(_problem(f"{type(error).__name__}: {error}")) from error
    head, _, body = reply.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or body != _BODY:
        raise SelfCheckError(_problem(f"a request with a body was answered {reply[:200]!r}"))


async def _ask(config: uvicorn.Config) -> bytes:
    loop = asyncio.get_running_loop()
    client, server = socket.socketpair()
    client.setblocking(False)
    server.setblocking(False)

    def connection() -> asyncio.BaseProtocol:
        return config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=ServerState(), app_state={}
        )

    transport, _ = await loop.connect_accepted_socket(connection, server)
    reader, writer = await asyncio.open_connection(sock=client)
    try:
        # In two pieces, as a client sends that offers another protocol.
        head_ends = _REQUEST.index(b"\r\n\r\n") + 4
        writer.write(_REQUEST[:head_ends])
        await asyncio.sleep(0)
        writer.write(_REQUEST[head_ends:])
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await reader.readexactly(len(_BODY))
    finally:
        writer.close()
        transport.abort()


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _problem(what: str) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "httptools"))
    return (
        f"cannot read requests with {packages}: {what}. "
        "Install the versions that constraints.txt pins"
    )
