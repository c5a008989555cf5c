"""Tokenizer routes: models by name, errors by the route's own words, and nobody held up."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from avikam.gateway.api import json_body, messages_routes, tokenizer
from avikam.v1 import inference_pb2
from tests.gateway.harness import PROTOBUF, RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

TURN = {"role": "user", "content": "a"}
BODIES: dict[str, dict[str, Any]] = {
    "/tokenize": {"prompt": "Bonjour"},
    "/detokenize": {"tokens": [65]},
    "/v1/messages/count_tokens": {"messages": [TURN]},
}


@pytest.mark.parametrize("path", BODIES)
async def test_a_model_is_known_by_its_name_or_not_at_all(
    gateway: RunningGateway, path: str
) -> None:
    known = await gateway.post(path, **BODIES[path], model="avikam1-fake")
    unknown = await gateway.post(path, **BODIES[path], model="nobody")

    assert known.status_code == 200, known.text
    assert unknown.status_code == 404, unknown.text


async def test_a_message_names_its_model_too(gateway: RunningGateway) -> None:
    async def asked(model: str) -> int:
        message = inference_pb2.TextTokenizeRequest(prompt={"text": "a"}, model=model)
        body = message.SerializeToString()
        return (await gateway.send("/tokenize", body, content_type=PROTOBUF)).status_code

    assert [await asked(name) for name in ("", "avikam1-fake", "nobody")] == [200, 200, 404]


async def test_an_id_beyond_the_vocabulary_is_told_in_the_routes_own_words(
    gateway: RunningGateway,
) -> None:
    error = (await gateway.post("/detokenize", tokens=[10**9])).json()["error"]

    assert error["param"] == "tokens"
    assert error["message"].startswith("tokens has token id 1000000000")


async def test_large_bodies_are_not_read_on_the_loops_thread(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()

    def watched(model: Any, data: Any) -> Any:
        threads.add(threading.get_ident())
        return json_body.validate(model, data)

    for module in (tokenizer, messages_routes):
        monkeypatch.setattr(module, "validate", watched)
    turns = [{"role": "user", "content": "a" * 1000}] * 200
    statuses = [
        (await gateway.post("/tokenize", messages=turns)).status_code,
        (await gateway.post("/tokenize", inputs="a" * 200_000)).status_code,
        (await gateway.post("/detokenize", tokens=[65] * 100_000)).status_code,
        (await gateway.post("/v1/messages/count_tokens", messages=turns)).status_code,
    ]

    assert statuses == [200] * 4
    assert threads
    assert threading.get_ident() not in threads
