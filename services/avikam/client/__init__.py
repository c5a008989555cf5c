"""A client for Avikam's own API, over REST and gRPC, blocking and asyncio.

    from avikam.client import Client

    with Client("http://127.0.0.1:8000") as client:
        print(client.generate("Bonjour", max_tokens=50).text)
        for piece in client.stream([{"role": "user", "content": "Salut !"}]):
            print(piece.text, end="", flush=True)

======================  =========  ===========
class                   transport  style
======================  =========  ===========
:class:`Client`         REST       blocking
:class:`AsyncClient`    REST       asyncio
:class:`GrpcClient`     gRPC       blocking
:class:`AsyncGrpcClient` gRPC      asyncio
======================  =========  ===========

All four send the same messages and raise the same errors. The REST ones also read the streams of
OpenAI's routes: :meth:`Client.events`.
"""

from avikam.client.answer import Answer, Choice, Piece
from avikam.client.errors import (
    AuthenticationError,
    AvikamError,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerFailed,
    StreamInterrupted,
    Unavailable,
)
from avikam.client.events import Event
from avikam.client.request import ChatMessage, Sampling
from avikam.client.rest import AsyncClient, Client
from avikam.client.retries import Retries
from avikam.client.rpc import AsyncGrpcClient, GrpcClient

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncGrpcClient",
    "AuthenticationError",
    "AvikamError",
    "ChatMessage",
    "Choice",
    "Client",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Event",
    "GrpcClient",
    "InvalidRequest",
    "NotFound",
    "PermissionDenied",
    "Piece",
    "RateLimited",
    "Retries",
    "Sampling",
    "ServerFailed",
    "StreamInterrupted",
    "Unavailable",
]
