"""One HTTP request as the gateway's own layers know it, kept in the ASGI scope."""

from __future__ import annotations

import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from avikam.gateway.limits.allowance import Allowance

_KEY = "avikam.call"
_REQUEST_ID = re.compile(rb"[\w-]{1,64}")


@dataclass(slots=True)
class Call:
    """``route`` is the path as declared (bounded, for metrics); ``tenant`` is the key's, as are
    the limits of ``allowance``. ``size`` is the body's, in bytes. ``shed`` is whether it was
    refused unread, of which there may be too many for a log."""

    id: str
    started: float
    route: str = "unknown"
    status: int = 0
    tenant: str = ""
    allowance: Allowance | None = None
    size: int = 0
    shed: bool = False


def put_call(scope: MutableMapping[str, Any], call: Call) -> None:
    """Attach the call to its scope."""
    scope[_KEY] = call


def call_of(scope: Any) -> Call:
    """The call of a scope."""
    call: Call = scope[_KEY]
    return call


def request_id(headers: list[tuple[bytes, bytes]]) -> str:
    """The client's ``x-request-id`` if it is harmless, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return secrets.token_hex(16)
