"""``/docs`` and ``/openapi.json``: the API described, without asking anybody else's server.

Addresses on the page are relative to it, so that it works behind a proxy that adds a path before
ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import orjson
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from avikam.gateway.doors.http.not_found import not_found
from avikam.gateway.doors.http.openapi import document
from avikam.gateway.doors.http.routes import Route

# Swagger UI, as the package brings it along.
_STATIC = Path(str(files("fastapi_offline").joinpath("static")))
_ASSETS = frozenset({"swagger-ui.css", "swagger-ui-bundle.js", "favicon.png"})


class Documentation:
    """Endpoints about the ``routes`` of the API."""

    def __init__(self, routes: Sequence[Route], version: str) -> None:
        self._document = document(routes, version)

    def routes(self) -> list[Route]:
        """The documentation's own routes."""
        return [
            Route("GET", "/docs", self.page, "infer", media_type="text/html"),
            Route("GET", "/docs/{file}", self.asset, "infer", media_type="*/*"),
            Route("GET", "/openapi.json", self.openapi, "infer"),
        ]

    async def page(self, request: Request) -> Response:
        """The API for people."""
        up = _way_up(request)
        return get_swagger_ui_html(
            openapi_url=f"{up}openapi.json",
            title="Avikam",
            oauth2_redirect_url=None,
            swagger_js_url=f"{up}docs/swagger-ui-bundle.js",
            swagger_css_url=f"{up}docs/swagger-ui.css",
            swagger_favicon_url=f"{up}docs/favicon.png",
        )

    async def asset(self, request: Request) -> Response:
        """What the page is made of."""
        name = request.path_params["file"]
        if name not in _ASSETS:
            raise not_found(request.scope["path"], {f"/docs/{asset}" for asset in _ASSETS})
        return FileResponse(_STATIC / name)

    async def openapi(self, request: Request) -> Response:
        """The API for programs."""
        # Relative to this document, unless a proxy has said which path it adds.
        server = request.scope.get("root_path") or "."
        reply = {**self._document, "servers": [{"url": server}]}
        return Response(orjson.dumps(reply), media_type="application/json")


def _way_up(request: Request) -> str:
    """From the page's address, as the client wrote it, to where the API begins."""
    asked = request.scope.get("raw_path", b"/docs").decode("latin-1")
    below = asked.removeprefix(request.scope.get("root_path", "")).count("/") - 1
    return "../" * below or "./"
