"""404 and 405 in the API's envelope, with what would have worked."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from avikam.protocol.errors import ApiError

_SHOWN = 64
EXAMPLE = 'curl -X POST http://HOST/generate -d \'{"prompt": "Bonjour", "max_tokens": 50}\''


def not_found(path: str, routes: Iterable[str]) -> ApiError:
    """404, naming near routes."""
    near = get_close_matches(path[:_SHOWN], sorted(routes), n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "GET / lists the routes."
    shown = path if len(path) <= _SHOWN else path[:_SHOWN] + "…"
    return ApiError(404, f"There is no {shown}; {hint}", "route_not_found")


def method_not_allowed(method: str, path: str, allowed: Iterable[str]) -> ApiError:
    """405, naming the methods that work."""
    methods = ", ".join(sorted(allowed))
    example = f" For example: {EXAMPLE}" if path == "/generate" else ""
    return ApiError(
        405,
        f"{path} takes {methods}, not {method}.{example}",
        "method_not_allowed",
        headers={"allow": methods},
    )
