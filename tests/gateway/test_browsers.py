"""Web pages: which may use the gateway, by which name, and what a real browser makes of that."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from avikam.gateway.access.hosts import HostNames
from avikam.gateway.access.key_file import write_keys
from avikam.gateway.settings import GatewaySettings
from tests.gateway.browser import browser
from tests.gateway.harness import RunningGateway, gateway_at, serving
from tests.gateway.test_keys import KEY, bearer, make_key

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = (
    *("localhost", "LOCALHOST:8000", "localhost.:1", "gateway.localhost", "127.0.0.1:8000"),
    *("127.8.9.1", "[::1]:8000", "[::ffff:127.0.0.1]:80", "[0:0:0:0:0:0:0:1]"),
)
LOCAL = ("x", "avikam_gateway:8000", "laptop.local", "llm.internal", "svc.ns.svc.cluster.local.")
FOREIGN = (
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example"),
    *("evil-localhost.example", "8.8.8.8", "192.168.1.4:8000", "[2001:db8::1]:80", "[::]:80"),
    *("local.example", "notlocalhost.com", "2130706433", "evil.internal.example"),
)


@pytest.mark.parametrize("host", [*OURS, *LOCAL])
async def test_names_that_no_stranger_can_own_are_ours(gateway: RunningGateway, host: str) -> None:
    reply = await gateway.client.get("/version", headers={"host": host})

    assert reply.status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/version", "/", "/metrics", "/nowhere", "/docs"])
async def test_a_foreign_name_is_refused_whatever_it_asks(
    gateway: RunningGateway, path: str, host: str
) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        reply = await gateway.client.request(method, path, headers={"host": host})

        assert reply.status_code == 403
        assert reply.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize("host", FOREIGN)
async def test_probes_do_not_ask_for_a_name(gateway: RunningGateway, host: str) -> None:
    assert (await gateway.client.get("/livez", headers={"host": host})).status_code == 200


async def test_given_names_stand_for_themselves_and_close_the_rest() -> None:
    hosts = HostNames(["llm.example.org", "*.example.net", "Short"], keyless=True)

    accepted = ["llm.example.org:443", "LLM.example.org.", "a.b.example.net", "short", "localhost"]
    refused = ["example.net", "xllm.example.org", "a.llm.example.org", "x", "laptop.local"]
    assert [name for name in [*accepted, *refused] if hosts.accept(name)] == accepted
    assert HostNames(["*"], keyless=True).accept("evil.example")


async def test_with_keys_any_name_may_come_until_names_are_given(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys.yaml", [KEY])
    secret, key = make_key("bob")
    write_keys(tmp_path / "keys.yaml", [key])
    headers = {**bearer(secret), "host": "anything.example"}
    statuses = []
    for hosts in ((), ("llm.example.org",)):
        async with gateway_at("127.0.0.1:1", keys=tmp_path / "keys.yaml", hosts=hosts) as gateway:
            statuses.append((await gateway.get("/version", headers=headers)).status_code)

    assert statuses == [200, 403]


async def test_http_1_0_needs_no_host(gateway: RunningGateway) -> None:
    for request in (b"GET /version", b"OPTIONS /"):
        answer = await gateway.raw(request + b" HTTP/1.0\r\n\r\n")

        assert answer.split()[1] in (b"200", b"204")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "OWN"}, 200),
        ({"origin": "OWN", "sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        # A proxy in front gave us its own word for us in Host.
        ({"origin": "http://localhost:81", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://localhost:81"}, 403),
        ({"origin": "http://localhost:81", "sec-fetch-site": "same-site"}, 403),
        ({"origin": "OWN", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://evil.example", "sec-fetch-site": "same-origin"}, 403),
        ({"origin": "http://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://127.0.0.1.evil.example"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "anything"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/generate", "/", "/%67enerate/"])
async def test_without_keys_no_foreign_page_has_work_done(
    gateway: RunningGateway, path: str, headers: dict[str, str], status: int
) -> None:
    own = f"http://127.0.0.1:{gateway.server.port}"
    told = {name: value.replace("OWN", own) for name, value in headers.items()}
    reply = await gateway.client.post(path, json={"inputs": "Bonjour"}, headers=told)

    assert reply.status_code == status, reply.text
    if status == 403:
        assert reply.json()["error"]["code"] == "origin_not_allowed"


@pytest.mark.parametrize("body", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_what_browsers_send_without_asking_first_is_refused_too(
    gateway: RunningGateway, body: str | None
) -> None:
    headers = {"origin": "http://evil.example"} | ({"content-type": body} if body else {})
    reply = await gateway.client.post(
        "/v1/load_lora_adapter", content=b'{"lora_name": "x", "lora_path": "x"}', headers=headers
    )

    assert reply.status_code == 403


async def test_looking_is_left_to_the_browsers_own_rules(gateway: RunningGateway) -> None:
    reply = await gateway.get("/version", headers={"origin": "http://evil.example"})

    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


APP = "https://app.example.org"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    """A gateway with keys, whose API the pages of one origin may use."""
    path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    write_keys(path, [KEY])
    async with gateway_at("127.0.0.1:1", keys=path, cors_origins=(APP,)) as started:
        yield started


ASKING = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}


async def test_a_preflight_is_answered_before_keys_are_asked(shared: RunningGateway) -> None:
    reply = await shared.client.options("/v1/chat/completions", headers={"origin": APP} | ASKING)

    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == APP
    assert reply.headers["access-control-allow-methods"] == "POST"
    assert reply.headers["access-control-allow-headers"] == ASKING["access-control-request-headers"]
    assert "access-control-allow-credentials" not in reply.headers
    assert reply.headers["vary"] == "origin"


@pytest.mark.parametrize(
    "origin",
    [
        *("http://app.example.org", "https://app.example.org:8443", "https://x.app.example.org"),
        *("https://app.example.org.evil.example", "null", "HTTPS://APP.EXAMPLE.ORG", "*", ""),
    ],
)
async def test_only_the_very_origin_may(shared: RunningGateway, origin: str) -> None:
    reply = await shared.client.options("/generate", headers={"origin": origin} | ASKING)
    looked = await shared.client.get("/livez", headers={"origin": origin})

    assert reply.status_code == 403
    for each in (reply, looked):
        assert "access-control-allow-origin" not in each.headers
        assert each.headers["vary"] == "origin"


async def test_by_default_no_origin_may(gateway: RunningGateway) -> None:
    reply = await gateway.client.options("/generate", headers={"origin": APP} | ASKING)

    assert reply.status_code == 403
    assert "access-control-allow-origin" not in reply.headers


async def test_a_refusal_can_be_read_by_the_page_too(shared: RunningGateway) -> None:
    """Else a page would see a broken network where there is a wrong key."""
    reply = await shared.client.post("/generate", json={}, headers={"origin": APP})

    assert reply.status_code == 401
    assert reply.headers["access-control-allow-origin"] == APP
    exposed = reply.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "retry-after", "ratelimit-remaining"} <= set(exposed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cors_origins": ("*",)},
        {"cors_origins": ("https://app.example.org/",)},
        {"cors_origins": ("app.example.org",)},
        {"cors_origins": ("HTTPS://app.example.org",)},
        {"hosts": ("llm.example.org:8000",)},
        {"hosts": ("https://llm.example.org",)},
        {"hosts": ("a b",)},
    ],
)
async def test_a_setting_that_would_never_match_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="is not a"):
        GatewaySettings(**wrong)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_scrapers_own_port_asks_for_a_name_too(method: str) -> None:
    async with gateway_at("127.0.0.1:1", metrics_port=0) as gateway:
        own = gateway.server._metrics_server
        assert own is not None
        url = f"http://127.0.0.1:{own.server_port}/metrics"
        statuses = [
            (await gateway.client.request(method, url, headers={"host": host})).status_code
            for host in (f"127.0.0.1:{own.server_port}", "x", "evil.example", "")
        ]

    assert statuses == [200, 200, 403, 403]


# What a real browser does.


@contextlib.contextmanager
def page_server() -> Iterator[int]:
    """The port of a site that serves an empty page."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>site</title>")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


def fetching(url: str, **options: Any) -> str:
    """A script that fetches and tells status, body and one header, or that it may not."""
    return (
        f"fetch({json.dumps(url)}, {json.dumps(options)})"
        ".then(async r => [r.status, await r.text(), r.headers.get('x-request-id')])"
        ".catch(e => ['refused', e.name, null])"
    )


async def in_browser(act: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(act)


ASK = {"method": "POST", "headers": {"content-type": "application/json"}}
BODY = json.dumps({"prompt": "Bonjour", "max_tokens": 4})


async def test_pages_of_an_allowed_origin_read_and_others_do_not(tmp_path: Path) -> None:
    with page_server() as allowed, page_server() as other:
        async with serving(cors_origins=(f"http://127.0.0.1:{allowed}",)) as gateway:

            def visit() -> list[Any]:
                seen = []
                with browser(tmp_path) as page:
                    for port in (allowed, other):
                        page.open(f"http://127.0.0.1:{port}/")
                        url = f"{gateway.server.url}/generate"
                        seen.append(page.run(fetching(url, **ASK, body=BODY)))
                        # Without a content type a browser does not ask first.
                        blob = f"fetch({json.dumps(url)}, {{method: 'POST', mode: 'no-cors', "
                        blob += f"body: new Blob([{json.dumps(BODY)}])}}).then(() => 1)"
                        page.run(blob)
                return seen

            mine, foreign = await in_browser(visit)
            served = gateway.metric("requests_total", route="/generate", status="200")

    assert mine[0] == 200
    assert mine[2]
    assert "text" in json.loads(mine[1])
    assert foreign == ["refused", "TypeError", None]
    # Nothing without a content type, which is for programs, and nothing of the other page.
    assert served == 1


async def test_a_page_that_rebinds_its_name_gets_nothing(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    """After it was loaded, the page's own name means this gateway: to the browser, one origin."""
    before = gateway.metric("requests_total", route="/generate", status="200")
    port = gateway.server.port

    def visit() -> list[Any]:
        with browser(tmp_path, "--host-resolver-rules=MAP evil.example 127.0.0.1") as page:
            page.open(f"http://evil.example:{port}/livez")
            assert page.run("location.origin") == f"http://evil.example:{port}"
            asked = [("/generate", {**ASK, "body": BODY}), ("/metrics", {}), ("/v1/models", {})]
            return [page.run(fetching(path, **options)) for path, options in asked]

    answers = await in_browser(visit)

    assert [answer[0] for answer in answers] == [403, 403, 403]
    assert all("host_not_allowed" in answer[1] for answer in answers)
    assert gateway.metric("requests_total", route="/generate", status="200") == before


async def test_the_gateways_own_page_may(gateway: RunningGateway, tmp_path: Path) -> None:
    def visit() -> Any:
        with browser(tmp_path) as page:
            page.open(f"{gateway.server.url}/docs")
            return page.run(fetching("/generate", **ASK, body=BODY))

    assert (await in_browser(visit))[0] == 200
