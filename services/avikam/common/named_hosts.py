"""A check of Host for the scrapers' port, whose server is the metrics library's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_REFUSAL = b"This is not the name of this server; its setting hosts can add it.\n"


def with_hosts(app: WSGIApplication, accept: Callable[[str], bool]) -> WSGIApplication:
    """``app`` for requests whose Host is accepted; others get 403. No browser sends none."""

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST")
        if host is None or accept(host):
            return app(environ, start)
        start("403 Forbidden", [("content-type", "text/plain")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [_REFUSAL]

    return answer
