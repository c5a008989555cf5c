"""Behind a proxy: pages work below a path that it adds, and only a trusted one is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from avikam.gateway.access.key_file import write_keys
from avikam.gateway.doors.http.edge import Edge
from avikam.gateway.settings import GatewaySettings
from tests.gateway.browser import Page, browser
from tests.gateway.harness import RunningGateway, gateway_at, serving
from tests.gateway.nginx import nginx
from tests.gateway.test_console import ask
from tests.gateway.test_keys import KEY

# How nginx serves the gateway below /llm/, and what the gateway is told of it.
CUT = "location /llm/ {{ proxy_pass http://127.0.0.1:{port}/; }}"
LEFT = "location /llm/ {{ proxy_pass http://127.0.0.1:{port}; }}"
TOLD = "location /llm/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_set_header {header}; }}"
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "cut off, unknown": (CUT, {}),
    "cut off, as set": (CUT, {"root_path": "/llm"}),
    "left, as set": (LEFT, {"root_path": "/llm/"}),
    "cut off, as told": (
        TOLD.replace("{header}", "X-Forwarded-Prefix /llm"),
        {"trusted_proxies": ("127.0.0.1",)},
    ),
}


async def below(
    tmp_path: Path, gateway: RunningGateway, server: str, act: Callable[[str], Any]
) -> Any:
    """``act`` on the address below which nginx serves the gateway."""

    def run() -> Any:
        with nginx(tmp_path, server.format(port=gateway.server.port)) as url:
            return act(f"{url}/llm")

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("way", WAYS)
async def test_console_and_documentation_work_below_a_path(tmp_path: Path, way: str) -> None:
    server, settings = WAYS[way]

    def visit(url: str) -> None:
        with browser(tmp_path / "profile") as page:
            page.open(f"{url}/")
            page.wait("document.querySelectorAll('#model option').length == 1")
            ask(page, "Bonjour")
            page.wait("turns.length == 2")
            assert f"curl -N {url}/v1/chat/completions " in page.run("curl()")
            page.open(f"{url}/docs")
            page.wait("document.querySelectorAll('.opblock').length > 15")
            _try_it_out(page)
            outside = [each for each in page.foreign(f"{url}/") if "favicon.ico" not in each]
            assert outside == []
            assert page.complaints == []

    async with serving(**settings) as gateway:
        await below(tmp_path, gateway, server, visit)


def _try_it_out(page: Page) -> None:
    """Ask for the version from the page, as a reader does."""
    page.run(
        "document.querySelector('[id$=get] .opblock-summary-path[data-path=\"/version\"]')"
        ".closest('.opblock-summary').querySelector('button').click()"
    )
    page.wait("!!document.querySelector('.try-out__btn')")
    page.run("document.querySelector('.try-out__btn').click()")
    page.wait("!!document.querySelector('.execute')")
    page.run("document.querySelector('.execute').click()")
    answer = "document.querySelector('.live-responses-table .response')"
    page.wait(f"!!{answer}?.querySelector('.microlight')")
    assert page.run(f"{answer}.querySelector('td').textContent").startswith("200")
    assert "version" in page.run(f"{answer}.querySelector('.microlight').textContent")


@pytest.mark.parametrize("way", WAYS)
async def test_the_document_leads_to_where_it_is_served(tmp_path: Path, way: str) -> None:
    server, settings = WAYS[way]

    def look(url: str) -> list[int]:
        with httpx.Client(trust_env=False) as client:
            document = client.get(f"{url}/openapi.json").json()
            base = httpx.URL(f"{url}/openapi.json").join(document["servers"][0]["url"])
            return [
                client.get(f"{str(base).rstrip('/')}{path}").status_code
                for path in ("/version", "/openapi.json", "/docs", "/docs/", "/docs/swagger-ui.css")
            ]

    async with gateway_at("127.0.0.1:1", **settings) as gateway:
        assert await below(tmp_path, gateway, server, look) == [200] * 5


async def test_the_documents_addresses_follow_how_the_page_was_asked_for() -> None:
    async with gateway_at("127.0.0.1:1") as gateway:
        for path in ("/docs", "/docs/", "//docs", "/docs//"):
            page = await gateway.client.get(gateway.server.url + path)
            sheet = page.text.partition('href="')[2].partition('"')[0]
            found = httpx.URL(gateway.server.url + path).join(sheet)

            assert (await gateway.client.get(found)).headers["content-type"].startswith("text/css")


FORWARDED = {
    "x-forwarded-for": "198.51.100.7, 203.0.113.9",
    "x-forwarded-proto": "https",
    "x-forwarded-prefix": "/llm",
}


def spied(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The scopes of requests as the gateway's own layers get them."""
    seen: list[dict[str, Any]] = []
    call = Edge.__call__

    async def spy(edge: Edge, scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope))
        await call(edge, scope, receive, send)

    monkeypatch.setattr(Edge, "__call__", spy)
    return seen


@pytest.mark.parametrize(
    ("trusted", "client", "scheme", "root"),
    [
        ((), "127.0.0.1", "http", ""),
        (("10.0.0.0/8", "::1"), "127.0.0.1", "http", ""),
        (("127.0.0.1",), "203.0.113.9", "https", "/llm"),
        (("127.0.0.0/8", "203.0.113.0/24"), "198.51.100.7", "https", "/llm"),
    ],
)
async def test_only_trusted_proxies_say_whose_a_request_is(
    monkeypatch: pytest.MonkeyPatch,
    trusted: tuple[str, ...],
    client: str,
    scheme: str,
    root: str,
) -> None:
    async with gateway_at("127.0.0.1:1", trusted_proxies=trusted) as gateway:
        seen = spied(gateway, monkeypatch)
        document = (await gateway.get("/openapi.json", headers=FORWARDED)).json()

    assert (seen[0]["client"][0], seen[0]["scheme"]) == (client, scheme)
    assert document["servers"] == [{"url": root or "."}]


@pytest.mark.parametrize(
    "prefix",
    ["//evil.example", "/a/../b c", "javascript:x", "/llm, /x", "/%2e", '/"><script>', "/"],
)
async def test_a_prefix_that_cannot_be_one_is_left_out(prefix: str) -> None:
    async with gateway_at("127.0.0.1:1", trusted_proxies=("127.0.0.1",)) as gateway:
        headers = {"x-forwarded-prefix": prefix}
        document = (await gateway.get("/openapi.json", headers=headers)).json()

    assert document["servers"] == [{"url": "."}]


async def test_a_root_path_does_not_open_what_needs_a_scope(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys.yaml", [KEY])
    async with gateway_at(
        "127.0.0.1:1", keys=tmp_path / "keys.yaml", root_path="/livez"
    ) as gateway:
        statuses = [
            (await gateway.get(path)).status_code
            for path in ("/livez/metrics", "/livez/livez", "/livez/version", "/livezx", "/livez")
        ]

    # The last one is the root itself: the list of routes, which needs a key.
    assert statuses == [401, 200, 401, 401, 401]


@pytest.mark.parametrize(
    "wrong",
    [
        {"root_path": "llm"},
        {"root_path": "/llm?x"},
        {"root_path": "//llm"},
        {"trusted_proxies": ("proxy.example",)},
        {"trusted_proxies": ("10.0.0.1/8",)},
    ],
)
def test_a_setting_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="is not a"):
        GatewaySettings(**wrong)
