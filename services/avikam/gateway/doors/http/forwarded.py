"""What proxies in front say of a request: whose it is, and under which path they serve us.

X-Forwarded-For, -Proto   the client's address and scheme    both, like the prefix, only from the
X-Forwarded-Prefix        the path that the proxy cut off    addresses in ``trusted_proxies``
root_path                 the same as a setting, for proxies that do not say it; such a path is
                          also cut off here, for proxies that leave it
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

# No other characters: the prefix comes back in addresses that clients follow.
_PREFIX = re.compile(rb"(/[A-Za-z0-9._~-]+)+")


class Forwarded:
    """ASGI middleware before everything else."""

    def __init__(self, app: ASGIApp, root_path: str, trusted: Sequence[str]) -> None:
        proxied: Any = ProxyHeadersMiddleware(app, list(trusted))  # type: ignore[arg-type]
        self._app: ASGIApp = proxied if trusted else app
        self._root = root_path
        self._trusted = [ipaddress.ip_network(each) for each in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put what a trusted proxy says into the scope, and pass the request on."""
        if self._root:
            _cut(scope, self._root)
        if self._trusted and self._trusts(scope.get("client")):
            scope["root_path"] = _prefix(scope["headers"]) or self._root
        await self._app(scope, receive, send)

    def _trusts(self, client: tuple[str, int] | None) -> bool:
        try:
            address = ipaddress.ip_address(client[0] if client else "")
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _cut(scope: Scope, root: str) -> None:
    """Take the root off the path, where the proxy has not done so."""
    scope["root_path"] = root
    path = scope["path"]
    if path == root or path.startswith(f"{root}/"):
        scope["path"] = path[len(root) :] or "/"


def _prefix(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The one prefix that is given and can be one; else empty."""
    given = [value.rstrip(b"/") for name, value in headers if name == b"x-forwarded-prefix"]
    return given[0].decode() if len(given) == 1 and _PREFIX.fullmatch(given[0]) else ""
