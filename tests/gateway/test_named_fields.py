"""What the engine finds wrong is blamed on the field that the client sent, at every door."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2
from tests.gateway.harness import PROTOBUF, RunningGateway, gateway_to
from tests.model.builders import tiny_checkpoint
from tests.worker.harness import running_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNCLOSED = "(unclosed"
NO_SCHEMA: dict[str, Any] = {"type": "wonder"}
ASK = {"role": "user", "content": "Bonjour"}
TEXT = {"format": {"type": "json_schema", "name": "a", "schema": NO_SCHEMA}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": NO_SCHEMA}}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningGateway]:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("model"))
    options: dict[str, Any] = {"slots": 2, "token_budget": 64, "threads": 1, "adapters": folder}
    async with (
        running_worker(engine="real", model=folder, **options) as worker,
        gateway_to(worker) as running,
    ):
        yield running


GRAMMARS: list[tuple[str, dict[str, Any], str]] = [
    ("/generate", {"prompt": "a", "regex": UNCLOSED}, "regex"),
    ("/generate", {"prompt": "a", "json_schema": NO_SCHEMA}, "json_schema"),
    ("/v1/completions", {"prompt": "a", "response_format": FORMAT}, "response_format"),
    ("/v1/chat/completions", {"messages": [ASK], "response_format": FORMAT}, "response_format"),
    ("/v1/responses", {"input": "a", "text": TEXT}, "text.format"),
    (
        "/generate",
        {"inputs": "a", "parameters": {"grammar": {"type": "regex", "value": UNCLOSED}}},
        "parameters.grammar",
    ),
    (
        "/generate",
        {"inputs": "a", "parameters": {"grammar": {"type": "json", "value": NO_SCHEMA}}},
        "parameters.grammar",
    ),
]
LONG = "un deux trois " * 400
TOO_LONG: list[tuple[str, dict[str, Any], str]] = [
    ("/generate", {"prompt": LONG}, "prompt"),
    ("/generate", {"inputs": LONG}, "inputs"),
    ("/v1/completions", {"prompt": LONG}, "prompt"),
    ("/v1/chat/completions", {"messages": [{**ASK, "content": LONG}]}, "messages"),
    ("/v1/responses", {"input": LONG}, "input"),
    ("/v1/messages", {"messages": [{**ASK, "content": LONG}], "max_tokens": 3}, "messages"),
]


@pytest.mark.parametrize(("path", "body", "field"), [*GRAMMARS, *TOO_LONG])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_field_is_the_clients_own(
    gateway: RunningGateway, path: str, body: dict[str, Any], field: str, stream: bool
) -> None:
    reply = await gateway.post(path, **body, stream=stream)

    assert reply.status_code == 400, reply.text
    told = json.dumps(reply.json())
    if path == "/v1/messages":
        assert "maximum context length" in told
        return
    error = reply.json()["error"]
    assert error["param"] == field
    if body in [asked for _, asked, _ in GRAMMARS]:
        assert error["code"] == "invalid_grammar"
        assert error["message"].startswith(f"{field} cannot be used")


async def test_protobuf_has_the_names_of_its_own_fields(gateway: RunningGateway) -> None:
    message = inference_pb2.GenerateRequest(
        prompts=[pb.Prompt(text="a")], sampling=pb.SamplingParams(regex=UNCLOSED)
    )
    reply = await gateway.send("/generate", message.SerializeToString(), content_type=PROTOBUF)

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "regex"


async def test_adapters_are_refused_by_the_fields_of_their_route(gateway: RunningGateway) -> None:
    for body, field in (
        ({"lora_name": "a b", "lora_path": "x"}, "lora_name"),
        ({"lora_name": "a", "lora_path": "../x"}, "lora_path"),
    ):
        reply = await gateway.post("/v1/load_lora_adapter", **body)
        assert reply.status_code == 400
        assert reply.json()["error"]["param"] == field
    reply = await gateway.post("/v1/unload_lora_adapter", lora_name="nobody")
    assert reply.json()["error"]["param"] == "lora_name"
