"""HEAD for the scrapers' port, where Prometheus' own application knows GET alone.

Load generators ask with HEAD whether there is anything to scrape.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def with_head(app: WSGIApplication) -> WSGIApplication:
    """``app``, that answers HEAD as it would GET, without the body."""

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "HEAD":
            return app(environ, start)
        app({**environ, "REQUEST_METHOD": "GET"}, start)
        return []

    return answer
