"""What browsers may do that other clients could do anyway: nothing in a foreign page's name.

Host that is not ours           403    DNS rebinding; with keys only when ``hosts`` is set
preflight of a page             204    of an origin in ``cors_origins``, before keys are asked; 403
POST of a foreign page          403    without keys; with keys a page has none to send

Pages of the origins in ``cors_origins`` may ask and read everything that their key may. Cookies and
the like play no part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from avikam.gateway.access.hosts import HostNames
from avikam.gateway.doors.call import call_of
from avikam.gateway.doors.http.router import Match, match_of
from avikam.protocol.errors import ApiError

# What a page may read of a reply beside its body.
_EXPOSED = (
    "x-request-id, request-id, retry-after, server-timing, idempotent-replayed, "
    "ratelimit-limit, ratelimit-remaining, ratelimit-reset, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
_PREFLIGHT_SECONDS = b"600"
# A browser's own word, which no page can forge, that a page and what it asks are of one origin, or
# that a person asked and no page.
_OWN_PAGE = frozenset({None, b"same-origin", b"none"})

_Headers = list[tuple[bytes, bytes]]


class Browsers:
    """ASGI middleware; ``keyless`` is whether everybody who reaches the gateway may use it."""

    def __init__(
        self, app: ASGIApp, hosts: HostNames, origins: Iterable[str], keyless: bool
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = frozenset(origin.encode() for origin in origins)
        self._keyless = keyless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass the request on. Raises ApiError (403)."""
        match, call = match_of(scope), call_of(scope)
        headers = call.headers
        origin = headers.get(b"origin")
        allowed = origin in self._origins
        if self._origins:
            call.cors = _shared_with(origin) if origin is not None and allowed else _VARY
        host = headers.get(b"host")
        if not match.probe and host is not None and not self._ours(host):
            raise _wrong_host(host)
        if origin is not None and scope["method"] == "OPTIONS" and _ASKS in headers:
            if not allowed:
                raise _wrong_origin()
            await _preflight(match, headers.get(_ASKS_HEADERS))(scope, receive, send)
            return
        works = match.route is not None and match.route.works
        if self._keyless and works and not allowed and not self._own_page(headers):
            raise _wrong_origin()
        await self._app(scope, receive, send)

    def _ours(self, host: bytes) -> bool:
        return self._hosts.accept(host.decode("latin-1"))

    def _own_page(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether no page asks, or one that this gateway has served."""
        site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
        if site not in _OWN_PAGE:
            return False
        if origin is None:
            return True
        authority = _authority(origin)
        if not authority or not self._hosts.accept(authority):
            return False
        # Behind a proxy, Host may be the proxy's word for us; then the browser has to say it.
        return site == b"same-origin" or authority.encode() == headers.get(b"host", b"").lower()


_ASKS = b"access-control-request-method"
_ASKS_HEADERS = b"access-control-request-headers"
_VARY: _Headers = [(b"vary", b"origin")]


def _shared_with(origin: bytes) -> _Headers:
    return [
        *_VARY,
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED.encode()),
    ]


def _preflight(match: Match, asked: bytes | None) -> Response:
    headers = {
        "access-control-allow-methods": ", ".join(match.methods) or "GET, HEAD, POST",
        "access-control-max-age": _PREFLIGHT_SECONDS.decode(),
        # Chromium asks before a public page may reach a private address.
        "access-control-allow-private-network": "true",
    }
    if asked is not None:
        headers["access-control-allow-headers"] = asked.decode("latin-1")
    return Response(status_code=204, headers=headers)


def _authority(origin: bytes) -> str:
    """host:port of an origin, the port only where it is not the scheme's own; empty for none."""
    try:
        return urlsplit(origin.decode("ascii").lower()).netloc
    except ValueError:
        return ""


def _wrong_host(host: bytes) -> ApiError:
    shown = host.decode("latin-1")[:64]
    return ApiError(
        403,
        f"This gateway is not {shown}; ask for it as localhost, or add the name to its setting "
        "hosts.",
        "host_not_allowed",
    )


def _wrong_origin() -> ApiError:
    return ApiError(
        403,
        "Pages of this origin may not use the gateway; its setting cors_origins can allow them.",
        "origin_not_allowed",
    )
