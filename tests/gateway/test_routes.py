"""Every route the design names is there, in JSON, in protobuf where it has messages, with HEAD."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from avikam.gateway.access.key_file import write_keys
from avikam.gateway.access.keys import Key, digest, new_secret
from avikam.gateway.api import generate
from avikam.v1 import inference_pb2
from tests.gateway.doors import door
from tests.gateway.harness import PROTOBUF, RunningGateway, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Bonjour"}]
POSTS: dict[str, dict[str, Any]] = {
    "/": {"inputs": "Bonjour"},
    "/generate": {"prompt": "Bonjour"},
    "/generate_stream": {"inputs": "Bonjour"},
    "/v1/completions": {"prompt": "Bonjour"},
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/responses": {"input": "Bonjour"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 4},
    "/v1/messages/count_tokens": {"messages": MESSAGES},
    "/tokenize": {"prompt": "Bonjour"},
    "/detokenize": {"tokens": [65, 66]},
}
GETS = (
    *("/", "/v1/models", "/v1/models/avikam1-fake", "/tokenizer_info", "/info", "/version"),
    *("/livez", "/readyz", "/health", "/health/live", "/health/ready", "/metrics"),
    *("/docs", "/openapi.json"),
)


@pytest.mark.parametrize("path", POSTS)
async def test_a_post_is_answered(gateway: RunningGateway, path: str) -> None:
    reply = await gateway.client.post(path, json=POSTS[path])

    assert reply.status_code == 200, reply.text
    assert reply.headers["x-request-id"]


GENERATING = [path for path in POSTS if "token" not in path and path != "/generate_stream"]


@pytest.mark.parametrize("path", GENERATING)
async def test_every_whole_answer_tells_its_phases(gateway: RunningGateway, path: str) -> None:
    reply = await gateway.client.post(path, json=POSTS[path])

    for phase in ("queue", "prefill", "decode", "total", "gateway"):
        assert f"{phase};dur=" in reply.headers["server-timing"]


async def test_so_does_one_in_protobuf(gateway: RunningGateway) -> None:
    reply = await gateway.client.post(
        "/generate", json=POSTS["/generate"], headers={"accept": PROTOBUF}
    )

    assert reply.headers["content-type"] == PROTOBUF
    assert "prefill;dur=" in reply.headers["server-timing"]


async def test_a_large_answer_is_not_written_on_the_loops_thread(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    dumps = orjson.dumps

    def watched(reply: Any) -> bytes:
        threads.append(threading.get_ident())
        return dumps(reply)

    monkeypatch.setattr(generate.orjson, "dumps", watched)
    asked = {"prompt": ["Bonjour"] * 4, "max_tokens": 500, "logprobs": 5}
    reply = await gateway.client.post("/generate", json=asked)

    assert len(reply.content) > 64 * 1024
    assert threads[-1] != threading.get_ident()


@pytest.mark.parametrize("path", GETS)
async def test_a_get_is_answered_and_so_is_head(gateway: RunningGateway, path: str) -> None:
    got = await gateway.get(path)
    head = await gateway.client.head(path)

    assert (got.status_code, head.status_code) == (200, 200)
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_head_is_answered_on_the_scrapers_own_port_too() -> None:
    async with serving(metrics_port=0) as gateway:
        own = gateway.server._metrics_server
        assert own is not None
        url = f"http://127.0.0.1:{own.server_port}/metrics"
        got, head = await gateway.client.get(url), await gateway.client.head(url)

    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


async def test_the_table_is_complete(gateway: RunningGateway) -> None:
    listed = {(r["method"], r["path"]) for r in (await gateway.get("/")).json()["routes"]}
    admin = {("POST", "/v1/load_lora_adapter"), ("POST", "/v1/unload_lora_adapter")}
    asked = {("POST", path) for path in POSTS} | {("GET", path) for path in GETS}

    named = {("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/v1/models/avikam1-fake")}
    assert listed == (asked - named - {("GET", "/")}) | admin | {("GET", "/v1/models/{model:path}")}


async def test_the_models_are_a_message_too(gateway: RunningGateway) -> None:
    reply = await gateway.get("/v1/models", headers={"accept": PROTOBUF})

    models = inference_pb2.ListModelsResponse.FromString(reply.content).models
    assert reply.headers["content-type"] == PROTOBUF
    assert [model.id for model in models] == ["avikam1-fake"]


async def test_documentation_needs_no_network(gateway: RunningGateway) -> None:
    page = (await gateway.get("/docs")).text

    assert "http://" not in page
    assert "https://" not in page


async def test_an_answer_above_a_mebibyte_is_protobuf_for_those_who_read_it(
    gateway: RunningGateway,
) -> None:
    body = {"prompt": "Bonjour", "n": 8, "max_tokens": 1500, "logprobs": 20}
    both = {"accept": f"application/json, {PROTOBUF}"}
    large = await gateway.client.post("/generate", json=body, headers=both)
    plain = await gateway.client.post("/generate", json=body)

    assert large.headers["content-type"] == PROTOBUF
    assert len(inference_pb2.GenerateResponse.FromString(large.content).choices) == 8
    assert plain.headers["content-type"] == "application/json"
    assert len(plain.content) > 2**20


@pytest.mark.parametrize("kind", ["json", "protobuf", "grpc"])
async def test_no_key_prompt_or_path_is_logged_or_echoed(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = new_secret("canary-key")
    path = tmp_path / "keys-canary.yaml"
    write_keys(path, [Key(id="canary-key", sha256=digest(secret), tenant="acme")])
    async with (
        serving(grpc_port=0, keys=path, access_log=True) as gateway,
        door(kind, gateway) as knock,
    ):
        good = {"authorization": f"Bearer {secret}", "idempotency-key": "canary-order"}
        answers = [
            await knock(prompt="canary-prompt", **good),
            await knock(prompt="canary-other", **good),
            await knock(prompt="canary-prompt", authorization="Bearer canary-guess"),
            await knock(prompt="canary-prompt", max_tokens=0, authorization=good["authorization"]),
            await knock(
                prompt="canary-prompt", max_tokens=9999, authorization=good["authorization"]
            ),
        ]

    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert [answer.status for answer in answers] == [200, 409, 401, 400, 400]
    assert "canary" not in logged.replace(str(tmp_path), "")
    assert not any("canary" in str(answer) for answer in answers)


@pytest.mark.parametrize("path", [path for path in POSTS if path != "/generate_stream"])
async def test_replies_are_as_the_document_says(gateway: RunningGateway, path: str) -> None:
    document = (await gateway.get("/openapi.json")).json()
    content = document["paths"][path]["post"]["responses"]["200"]["content"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    asked = [POSTS[path]]
    if path == "/generate":
        asked += [{"inputs": "a"}, {"prompt": ["a", "b"], "n": 2, "logprobs": 1, "details": True}]
    if path in ("/v1/completions", "/v1/chat/completions"):
        asked += [POSTS[path] | {"logprobs": 1 if path == "/v1/completions" else True}]

    for body in asked:
        reply = (await gateway.client.post(path, json=body)).json()

        jsonschema.validate(reply, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({}, schema)
