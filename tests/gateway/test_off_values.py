"""Values that mean "off", numbers with a point, marks in front of a body: taken on every route."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from typing import Any

import pytest

from tests.gateway.harness import RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Bonjour"}]
ROUTES: dict[str, dict[str, Any]] = {
    "/generate": {"prompt": "Bonjour", "max_tokens": 3},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 3},
    "/v1/completions": {"prompt": "Bonjour", "max_tokens": 3},
    "/v1/responses": {"input": "Bonjour", "max_tokens": 3},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 3},
}
OFF: list[tuple[str, Any]] = [
    ("max_tokens", 3.0),
    ("min_tokens", 0.0),
    ("top_k", -1),
    ("top_k", 40.0),
    ("top_p", 0),
    ("top_p", 0.0),
    ("seed", -1),
    ("seed", -(2**63)),
    ("seed", 7.0),
    ("stop", ""),
    ("stop", [""]),
    ("stop", ["", "~~"]),
    ("stop", [f"s{number}" for number in range(64)]),
    ("stop_token_ids", [5.0]),
]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(("name", "value"), OFF, ids=str)
async def test_it_is_taken(gateway: RunningGateway, path: str, name: str, value: Any) -> None:
    reply = await gateway.post(path, **(ROUTES[path] | {name: value}))

    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("name", "value"),
    [("max_tokens", 3.5), ("top_k", -2), ("top_p", -0.1), ("stop", [None]), ("seed", 2**64)],
)
async def test_what_only_looks_like_it_is_not(
    gateway: RunningGateway, path: str, name: str, value: Any
) -> None:
    reply = await gateway.post(path, **(ROUTES[path] | {name: value}))

    assert reply.status_code == 400
    assert name in reply.json()["error"]["message"]


async def test_a_number_with_a_point_is_the_number(gateway: RunningGateway) -> None:
    whole = await gateway.post("/generate", prompt=[[70, 71]], max_tokens=20, seed=5)
    pointed = await gateway.post("/generate", prompt=[[70.0, 71.0]], max_tokens=20.0, seed=5.0)

    assert pointed.json()["text"] == whole.json()["text"]


async def test_a_negative_seed_is_a_seed_and_minus_one_is_none(gateway: RunningGateway) -> None:
    async def seed_of(seed: int) -> int:
        reply = await gateway.post("/generate", prompt="a", max_tokens=3, seed=seed, details=True)
        return int(reply.json()["details"]["seed"])

    assert await seed_of(-5) == await seed_of(-5)
    assert await seed_of(-5) != await seed_of(-6)
    assert await seed_of(-1) != await seed_of(-1)


@pytest.mark.parametrize("path", ROUTES)
async def test_a_mark_in_front_of_the_body_is_not_part_of_it(
    gateway: RunningGateway, path: str
) -> None:
    body = BOM_UTF8 + json.dumps(ROUTES[path]).encode()

    reply = await gateway.send(path, body, content_type="application/json")

    assert reply.status_code == 200, reply.text


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
NO_TOOLS: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"tools": [TOOL], "tool_choice": "none"},
        {"functions": [TOOL["function"]], "function_call": "none"},
    ],
    "/v1/responses": [{"tools": [{**TOOL, "name": "f"}], "tool_choice": "none"}],
    "/v1/messages": [
        {"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "none"}}
    ],
}


@pytest.mark.parametrize("path", NO_TOOLS)
async def test_tools_that_may_not_be_called_change_nothing(
    gateway: RunningGateway, path: str
) -> None:
    for tools in NO_TOOLS[path]:
        without = await gateway.post(path, **ROUTES[path], seed=3)
        unused = await gateway.post(path, **ROUTES[path], **tools, seed=3)
        (name,) = (name for name in tools if name in ("tools", "functions"))
        refused = await gateway.post(path, **ROUTES[path], **{name: tools[name]})

        assert unused.status_code == 200, unused.text
        assert unused.json()["usage"] == without.json()["usage"]
        assert refused.status_code == 400
        assert name in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chat_template_kwargs", {}),
        ("chat_template_kwargs", {"enable_thinking": False}),
        ("reasoning", {"effort": None, "summary": None}),
        ("stream_options", {}),
        ("stream_options", {"include_usage": False}),
        ("thinking", {"type": "disabled"}),
    ],
    ids=str,
)
async def test_an_object_that_asks_for_nothing(
    gateway: RunningGateway, name: str, value: Any
) -> None:
    reply = await gateway.post(
        "/v1/chat/completions", **ROUTES["/v1/chat/completions"], **{name: value}
    )

    assert reply.status_code == 200, reply.text
