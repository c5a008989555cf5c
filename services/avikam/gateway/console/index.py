"""``GET /``: the console for browsers, the list of routes for everybody else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

_FILES = files(__package__)
_VARY = {"vary": "accept"}


class Index:
    """The endpoint; without ``console`` there is only the list."""

    def __init__(self, listing: dict[str, Any], console: bool) -> None:
        self._listing = listing
        self._page = _assembled() if console else None
        self._headers = _policy()

    async def index(self, request: Request) -> Response:
        """List the routes; for a browser, a page to talk with the model."""
        if self._page is not None and "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(self._page, headers=self._headers)
        return JSONResponse(self._listing, headers=_VARY)


def _assembled() -> str:
    page = _text("page.html")
    for tag, name in (("style", "style.css"), ("script", "script.js")):
        page = page.replace(f"<{tag}></{tag}>", f"<{tag}>{_text(name)}</{tag}>")
    return page


def _text(name: str) -> str:
    return _FILES.joinpath(name).read_text(encoding="utf-8")


def _policy() -> dict[str, str]:
    """Headers under which the page can run its own two blocks and ask its own gateway only."""
    directives: Sequence[str] = (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        f"script-src {_hash_of('script.js')}",
        f"style-src {_hash_of('style.css')}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    policy = {"content-security-policy": "; ".join(directives)}
    return _VARY | policy | {"referrer-policy": "no-referrer"}


def _hash_of(name: str) -> str:
    digest = hashlib.sha256(_text(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
