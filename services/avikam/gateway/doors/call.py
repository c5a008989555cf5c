"""One HTTP request as the gateway's own layers know it, kept in the ASGI scope."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from avikam.gateway.budget.room import Hold
from avikam.gateway.limits.allowance import Allowance
from avikam.gateway.traces import RequestTrace

_KEY = "avikam.call"
_REQUEST_ID = re.compile(rb"[\w-]{1,64}")


@dataclass(slots=True)
class Call:
    """``route`` is the path as declared (bounded, for metrics); ``tenant`` is the key's, as are
    the limits of ``allowance`` and the ``priority``. ``size`` is the body's, in bytes, ``held``
    what it takes of the room for large ones. ``shed`` is whether it was refused unread, of which
    there may be too many for a log. ``headers`` are the request's by name; of those that came
    twice, the first. ``cors`` are headers of the reply that let a web page read it. ``trace`` is
    there when requests are traced."""

    id: str
    started: float
    route: str = "unknown"
    status: int = 0
    tenant: str = ""
    priority: int = 0
    allowance: Allowance | None = None
    size: int = 0
    held: int = 0
    hold: Hold | None = None
    shed: bool = False
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    cors: Sequence[tuple[bytes, bytes]] = ()
    trace: RequestTrace | None = None


def put_call(scope: MutableMapping[str, Any], call: Call) -> None:
    """Attach the call to its scope."""
    scope[_KEY] = call


def call_of(scope: Any) -> Call:
    """The call of a scope."""
    call: Call = scope[_KEY]
    return call


def by_name(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers for quick looks; of those that came twice, the first."""
    return dict(reversed(headers))


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's ``x-request-id`` if it is harmless, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return secrets.token_hex(16)
