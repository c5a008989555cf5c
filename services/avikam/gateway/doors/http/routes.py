"""The routes of the API: each is declared once, with who may ask for it and what it reads.

From the table come the router's answers, the OpenAPI document, the list at ``/`` and what wrong
paths are told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from avikam.gateway.access.keys import Access

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path and method.

    ``access`` is what a key must be allowed to do; ``open`` routes need no key, and are served and
    never logged however full the gateway is: those are for probes. There is no default: who adds
    a route has to say. ``bodies`` are the models it reads, ``replies`` those it answers with;
    ``stream`` that it may stream; ``media_type`` what an answer is;
    ``events`` are the names of a stream's events.
    """

    method: str
    path: str
    endpoint: Endpoint
    access: Access
    bodies: tuple[type[BaseModel], ...] = ()
    stream: bool = False
    protobuf: bool = False
    media_type: str = "application/json"
    replies: tuple[type[BaseModel], ...] = ()
    events: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The endpoint's own words."""
        return (self.endpoint.__doc__ or "").partition("\n")[0].rstrip(".")

    @property
    def probe(self) -> bool:
        """Whether everybody may ask, at any time."""
        return self.access == "open"

    @property
    def works(self) -> bool:
        """Whether it has work done, which counts against a key's limits; others only look."""
        return self.method == "POST"

    @property
    def generates(self) -> bool:
        """Whether it takes a place in the queue for workers."""
        return self.works and self.stream


def generating(
    path: str, endpoint: Endpoint, bodies: tuple[type[BaseModel], ...], protobuf: bool = False
) -> Route:
    """A route that generates: it may stream, and waits for its turn on a worker."""
    return Route("POST", path, endpoint, "infer", bodies, stream=True, protobuf=protobuf)


def working(
    path: str,
    endpoint: Endpoint,
    bodies: tuple[type[BaseModel], ...],
    access: Access = "infer",
    protobuf: bool = False,
) -> Route:
    """A route that has work done and answers at once."""
    return Route("POST", path, endpoint, access, bodies, protobuf=protobuf)


def looking(
    path: str, endpoint: Endpoint, access: Access = "infer", protobuf: bool = False
) -> Route:
    """A route that only looks at what is there."""
    return Route("GET", path, endpoint, access, protobuf=protobuf)
