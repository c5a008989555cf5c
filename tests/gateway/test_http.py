"""What holds for every route: methods, paths, content types, sizes, ids, probes."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE

import pytest

from tests.gateway.harness import PROTOBUF, RunningGateway, gateway_at, serving
from tests.tools import require_tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

READABLE = (
    "/",
    "/livez",
    "/readyz",
    "/health",
    "/version",
    "/info",
    "/metrics",
    "/v1/models",
    "/v1/models/avikam1-fake",
    "/tokenizer_info",
    "/docs",
    "/openapi.json",
)


@pytest.mark.parametrize("path", READABLE)
async def test_head_works_wherever_get_does(gateway: RunningGateway, path: str) -> None:
    got = await gateway.get(path)
    head = await gateway.client.head(path)

    assert got.status_code == head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_info_tells_what_is_served(gateway: RunningGateway) -> None:
    info = (await gateway.get("/info")).json()

    assert info["model_id"] == "avikam1-fake"
    assert info["max_total_tokens"] == 2048
    assert info["workers_ready"] == info["workers_known"] == 1


async def test_models_have_what_clients_look_for(gateway: RunningGateway) -> None:
    (model,) = (await gateway.get("/v1/models")).json()["data"]

    assert model["id"] == "avikam1-fake"
    assert model["max_model_len"] == 2048
    assert (await gateway.get("/v1/models/nobody")).json()["error"]["code"] == "model_not_found"


async def test_metrics_count_requests_by_route(gateway: RunningGateway) -> None:
    before = gateway.metric("requests_total", route="/generate", status="200")

    await gateway.text(prompt="Bonjour", max_tokens=3)

    assert gateway.metric("requests_total", route="/generate", status="200") == before + 1
    shown = (await gateway.get("/metrics")).text
    assert 'avikam_gateway_requests_total{route="/generate",status="200"}' in shown
    assert 'avikam_gateway_request_duration_seconds_bucket{le="0.1",route="/generate"}' in shown


@pytest.mark.parametrize("path", ["//v1//models", "/v1/models/", "/v1//models/avikam1-fake"])
async def test_slashes_too_many_are_forgiven(gateway: RunningGateway, path: str) -> None:
    # httpx would take //v1 for a host: the bytes are ours.
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    reply = await gateway.raw(request.encode())

    assert reply.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["//generate", "/generate/"])
async def test_posts_too(gateway: RunningGateway, path: str) -> None:
    body = b'{"prompt":"a","max_tokens":1}'
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}"

    reply = await gateway.raw(head.encode() + b"\r\n\r\n" + body)

    assert reply.startswith(b"HTTP/1.1 200")


async def test_a_get_of_generate_shows_how_to_ask(gateway: RunningGateway) -> None:
    reply = await gateway.get("/generate")

    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"
    error = reply.json()["error"]
    assert error["code"] == "method_not_allowed"
    assert "curl -X POST" in error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/completions"), ("POST", "/v1/models"), ("DELETE", "/generate"), ("PUT", "/docs")],
)
async def test_a_wrong_method_is_405(gateway: RunningGateway, method: str, path: str) -> None:
    reply = await gateway.client.request(method, path)

    assert reply.status_code == 405
    assert reply.headers["allow"]
    assert reply.json()["error"]["code"] == "method_not_allowed"


async def test_an_unknown_path_names_near_ones(gateway: RunningGateway) -> None:
    reply = await gateway.post("/v1/chat/completion")

    assert reply.status_code == 404
    error = reply.json()["error"]
    assert error["code"] == "route_not_found"
    assert error["type"] == "invalid_request_error"
    assert "/v1/chat/completions" in error["message"]


@pytest.mark.parametrize("path", ["/v1/../admin", "/v1/%2e%2e/x", "/" + "a" * 3000, "/%00"])
async def test_odd_paths_are_unknown_and_not_repeated(gateway: RunningGateway, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    head, _, body = (await gateway.raw(request.encode())).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 404")
    assert len(json.loads(body)["error"]["message"]) < 200


async def test_curl_works_without_a_content_type(gateway: RunningGateway) -> None:
    curl = require_tool("curl")
    arguments = ["-sS", "-X", "POST", f"{gateway.server.url}/generate"]
    for more in ([], ["-H", "content-type:"], ["-H", "content-type: application/json"]):
        process = await asyncio.create_subprocess_exec(
            curl, *arguments, *more, "-d", '{"prompt":"Bonjour","max_tokens":50}', stdout=PIPE
        )
        output, _ = await process.communicate()

        assert process.returncode == 0
        assert json.loads(output)["usage"]["completion_tokens"] == 50


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded", "text/plain"])
async def test_a_page_of_another_site_cannot_post(gateway: RunningGateway, kind: str) -> None:
    """These are the types that a browser sends across sites without asking first."""
    head = "POST /generate HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: http://evil.test\r\n"
    body = '{"prompt":"a","max_tokens":1}'
    head += (f"content-type: {kind}\r\n" if kind else "") + f"content-length: {len(body)}\r\n\r\n"

    reply = await gateway.raw((head + body).encode())

    assert reply.startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"])
async def test_our_own_pages_may(gateway: RunningGateway, kind: str) -> None:
    body = '{"prompt":"a","max_tokens":1}'

    reply = await gateway.send("/generate", body, content_type=kind, origin=gateway.server.url)

    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content_type", "text/plain"),
        ("content_type", "multipart/form-data; boundary=x"),
        ("content_encoding", "gzip"),
    ],
)
async def test_other_media_are_415(gateway: RunningGateway, name: str, value: str) -> None:
    reply = await gateway.send("/generate", b'{"prompt":"a"}', **{name: value})

    assert reply.status_code == 415
    assert reply.json()["error"]["code"] == "unsupported_media_type"


async def test_protobuf_is_only_for_our_own_routes(gateway: RunningGateway) -> None:
    reply = await gateway.send("/v1/completions", b"", content_type=PROTOBUF)

    assert reply.status_code == 415


async def test_a_request_keeps_its_harmless_id(gateway: RunningGateway) -> None:
    async def id_for(given: str) -> str:
        reply = await gateway.client.get("/version", headers={"x-request-id": given})
        return reply.headers["x-request-id"]

    assert await id_for("abc-123_X") == "abc-123_X"
    assert await id_for("a b") != "a b"
    assert len(await id_for("x" * 65)) == 32


async def test_two_requests_of_one_id_do_not_meet(gateway: RunningGateway) -> None:
    """Clients repeat an id when they try again: neither may end the other."""

    async def ask(seed: int) -> str:
        body = {"prompt": "Bonjour", "max_tokens": 200, "seed": seed}
        reply = await gateway.client.post("/generate", json=body, headers={"x-request-id": "same"})
        assert reply.status_code == 200, reply.text
        return str(reply.json()["text"])

    together = await asyncio.gather(*(ask(seed) for seed in range(8)))

    assert together == [await ask(seed) for seed in range(8)]


# Sizes


@pytest.mark.parametrize("path", ["/generate", "/v1/completions", "/tokenize"])
async def test_json_beyond_a_mebibyte_is_413(gateway: RunningGateway, path: str) -> None:
    reply = await gateway.send(path, b'{"prompt":"' + b"a" * 2**20 + b'"}')

    assert reply.status_code == 413
    error = reply.json()["error"]
    assert error["code"] == "body_too_large"
    assert PROTOBUF in error["message"]
    assert reply.headers["connection"] == "close"


async def test_json_of_a_mebibyte_is_read(gateway: RunningGateway) -> None:
    start, end = b'{"prompt":"a","max_tokens":1', b"}"

    reply = await gateway.send("/generate", start + b" " * (2**20 - len(start) - 1) + end)

    assert reply.status_code == 200


async def test_a_chunked_body_has_the_same_limit(gateway: RunningGateway) -> None:
    async def pieces() -> object:
        for _ in range(64):
            yield b" " * 2**15

    reply = await gateway.client.post("/generate", content=pieces())

    assert reply.status_code == 413


async def test_a_large_curl_upload_gets_to_read_its_413(gateway: RunningGateway) -> None:
    """The gateway must not reset a connection on which a client still sends."""
    curl = require_tool("curl")
    arguments = ["-sS", "-H", "expect:", "--data-binary", "@-", f"{gateway.server.url}/generate"]
    for _ in range(5):
        process = await asyncio.create_subprocess_exec(curl, *arguments, stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate(b" " * (5 * 2**20))

        assert process.returncode == 0
        assert json.loads(output)["error"]["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["host: x", "host: x"], 400),
        (["host: a/b?x"], 400),
        ([], 400),
        (["host: x", "content-length: 2", "content-length: 2"], 400),
        (["host: x", "content-length: -1"], 400),
        (["host: x", "content-length: 1_5"], 400),
        (["host: x", "content-length: 2", "transfer-encoding: chunked"], 400),
        (["host: x", "transfer-encoding: xchunked"], 400),
        (["host: x", "x: " + "a" * 40_000], 431),
        (["host: x", *(f"x-{number}: a" for number in range(200))], 431),
    ],
)
async def test_bad_headers_end_the_connection(
    gateway: RunningGateway, lines: list[str], status: int
) -> None:
    request = "\r\n".join(["POST /generate HTTP/1.1", *lines, "", ""])

    head, _, body = (await gateway.raw(request.encode())).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 %d" % status)
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


async def test_headers_without_end_are_cut_off(gateway: RunningGateway) -> None:
    reader, writer = await gateway.connect()
    writer.write(b"GET /version HTTP/1.1\r\nhost: x\r\n")
    line = b"x: " + b"a" * 8192 + b"\r\n"

    with pytest.raises(ConnectionError):  # noqa: PT012 - whichever write meets the closed end
        for _ in range(4096):
            writer.write(line)
            await writer.drain()
        await reader.read()
    writer.close()


async def test_tls_on_the_plain_port_is_refused(gateway: RunningGateway) -> None:
    reply = await gateway.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64)

    assert reply.startswith(b"HTTP/1.1 400")


# Slow and many clients


async def test_slow_headers_and_slow_bodies_are_given_up() -> None:
    async with serving(header_timeout_seconds=0.2, body_timeout_seconds=0.2) as gateway:
        assert await gateway.raw(b"GET /ver") == b""
        started = b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{"
        assert (await gateway.raw(started)).startswith(b"HTTP/1.1 408")


async def test_a_full_gateway_refuses_at_once_but_for_probes() -> None:
    async with serving(plan="tpot=20ms", max_requests=1) as gateway:
        busy = asyncio.create_task(gateway.text(prompt="Bonjour", max_tokens=20))
        while not gateway.metric("requests_in_flight"):
            await asyncio.sleep(0.01)
            gateway.server.gateway.metrics.registry.collect()

        refused = await gateway.post("/generate", prompt="Bonjour")

        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "gateway_full"
        assert refused.headers["retry-after"] == "1"
        assert (await gateway.get("/readyz")).status_code == 200
        assert await busy


async def test_a_gateway_without_workers_tells_so() -> None:
    async with gateway_at(first_worker_seconds=0.1) as gateway:
        assert (await gateway.get("/livez")).status_code == 200
        unready = await gateway.get("/readyz")
        assert unready.status_code == 503
        assert unready.json()["status"] == "waiting for workers"
        assert unready.json()["error"]["code"] == "not_ready"
        assert (await gateway.get("/v1/models")).json()["data"] == []
        assert (await gateway.get("/info")).json()["workers_ready"] == 0
        reply = await gateway.post("/generate", prompt="Bonjour")
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "no_worker_ready"
        assert reply.headers["retry-after"]


async def test_a_connection_too_many_is_told_so_and_probes_pass() -> None:
    async with serving(max_connections=2) as gateway:
        idle = [await gateway.connect() for _ in range(2)]
        ask = b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n"
        refused = await gateway.raw(ask % b"/version")
        probe = await gateway.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        more = [await gateway.connect() for _ in range(3)]
        unread = await more[-1][0].read()
        for _, writer in [*idle, *more]:
            writer.close()
        await asyncio.sleep(0.05)
        later = await gateway.raw(b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    head, _, body = refused.lower().partition(b"\r\n\r\n")
    assert head.startswith(b"http/1.1 503")
    assert b"retry-after: 1" in head
    assert head.count(b"connection: close") == 1
    assert json.loads(body)["error"]["code"] == "too_many_connections"
    assert probe.startswith(b"HTTP/1.1 200")
    assert unread == b""
    assert later.startswith(b"HTTP/1.1 200")


async def test_the_first_token_does_not_wait_for_the_second() -> None:
    async with serving(plan="tpot=60s") as gateway:
        reader, writer = await gateway.connect()
        # Another seed's first token may be half a character, which is not told alone.
        body = b'{"prompt":"a","max_tokens":3,"stream":true,"seed":2}'
        head = b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        async with asyncio.timeout(10):
            received = await reader.readuntil(b'"finish_reason":null}')
        writer.close()

    assert received.startswith(b"HTTP/1.1 200")


async def test_a_task_that_does_not_hear_its_end_keeps_no_gateway() -> None:
    unheard = 0

    async def stubborn() -> None:
        nonlocal unheard
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            unheard += 1
        await asyncio.Event().wait()

    async with asyncio.timeout(10), gateway_at("127.0.0.1:1") as gateway:
        gateway.server._tasks.insert(0, asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    assert unheard == 1


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9\r\n\r\n", b"\0\r\n\r\n"]
)
async def test_what_is_no_http_is_counted_and_not_logged(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    counted = gateway.metric("requests_total", route="unknown", status="400")

    reply = await gateway.raw(data)

    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b'"invalid_http"' in reply
    assert gateway.metric("requests_total", route="unknown", status="400") == counted + 1
    assert not caplog.records
