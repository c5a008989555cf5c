"""Conversations as each API writes them down: the same one is the same prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.harness import RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

USER = {"role": "user", "content": "Quel temps ?"}
ARGUMENTS = '{"ville":"Lyon"}'
FUNCTION = {"name": "temps", "arguments": ARGUMENTS}

CHAT: dict[str, list[dict[str, Any]]] = {
    "calls": [
        USER,
        {
            "role": "assistant",
            "content": "Je regarde.",
            "refusal": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": FUNCTION}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "12"},
        USER,
    ],
    "an old call": [
        USER,
        {"role": "assistant", "content": "Je regarde.", "function_call": FUNCTION},
        {"role": "function", "name": "temps", "content": "12"},
        USER,
    ],
    "arguments that are an object": [
        USER,
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Je regarde."}],
            "tool_calls": [{"function": {"name": "temps", "arguments": {"ville": "Lyon"}}}],
        },
        {"role": "tool", "content": [{"type": "text", "text": "12"}]},
        USER,
    ],
    "thoughts": [
        USER,
        {
            "role": "assistant",
            "reasoning_content": "hm",
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "Je regarde."},
            ],
            "tool_calls": [{"id": "c1", "type": "function", "function": FUNCTION}],
        },
        {"role": "tool", "content": "12"},
        USER,
    ],
}
ANTHROPIC: list[dict[str, Any]] = [
    USER,
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "Je regarde."},
            {"type": "tool_use", "id": "c1", "name": "temps", "input": {"ville": "Lyon"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "content": [{"type": "text", "text": "12"}],
            },
            {"type": "text", "text": USER["content"]},
        ],
    },
]
RESPONSES: list[dict[str, Any]] = [
    USER,
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Je regarde.", "annotations": []}],
    },
    {"type": "function_call", "call_id": "c1", **FUNCTION},
    {"type": "function_call_output", "call_id": "c1", "output": "12"},
    USER,
]


async def length_of(gateway: RunningGateway, path: str, **body: Any) -> int:
    """Tokens of the prompt that a conversation becomes."""
    reply = await gateway.post(path, **body, max_tokens=1)
    assert reply.status_code == 200, reply.text
    usage = reply.json()["usage"]
    return int(usage.get("prompt_tokens", usage.get("input_tokens")))


@pytest.mark.parametrize("name", CHAT)
async def test_a_conversation_is_the_same_through_every_api(
    gateway: RunningGateway, name: str
) -> None:
    chat = await length_of(gateway, "/v1/chat/completions", messages=CHAT[name])

    assert chat == await length_of(gateway, "/v1/messages", messages=ANTHROPIC)
    assert chat == await length_of(gateway, "/v1/responses", input=RESPONSES)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": None, "annotations": []},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": None, "reasoning_content": "hm"},
        {"role": "assistant"},
        {"role": "assistant", "content": []},
        {"role": "tool", "content": None},
    ],
)
async def test_nothing_said_is_an_empty_turn(
    gateway: RunningGateway, message: dict[str, Any]
) -> None:
    role = "assistant" if message["role"] == "assistant" else "user"
    empty = [USER, {"role": role, "content": ""}, USER]

    assert await length_of(
        gateway, "/v1/chat/completions", messages=[USER, message, USER]
    ) == await length_of(gateway, "/v1/chat/completions", messages=empty)


@pytest.mark.parametrize(
    "said",
    [
        {"content": None, "refusal": "Non."},
        {"content": [{"type": "refusal", "refusal": "Non."}]},
        {"content": [{"type": "output_text", "text": "Non."}]},
    ],
)
async def test_a_refusal_is_what_was_said(gateway: RunningGateway, said: dict[str, Any]) -> None:
    plain = [USER, {"role": "assistant", "content": "Non."}, USER]

    assert await length_of(
        gateway, "/v1/chat/completions", messages=[USER, {"role": "assistant", **said}, USER]
    ) == await length_of(gateway, "/v1/chat/completions", messages=plain)


REPLIES = ["/v1/chat/completions", "/v1/responses", "/v1/messages"]


@pytest.mark.parametrize("path", REPLIES)
async def test_a_reply_of_ours_goes_back_as_it_came(gateway: RunningGateway, path: str) -> None:
    key = "input" if path == "/v1/responses" else "messages"
    reply = (await gateway.post(path, **{key: [USER]}, max_tokens=5)).json()
    shapes: dict[str, Callable[[], list[Any]]] = {
        "/v1/chat/completions": lambda: [reply["choices"][0]["message"]],
        "/v1/responses": lambda: reply["output"],
        "/v1/messages": lambda: [{"role": reply["role"], "content": reply["content"]}],
    }
    said = shapes[path]()

    again = await gateway.post(path, **{key: [USER, *said, USER]}, max_tokens=5)

    assert again.status_code == 200, again.text


async def test_the_settings_of_a_response_go_back_as_they_came(gateway: RunningGateway) -> None:
    reply = (await gateway.post("/v1/responses", input="Bonjour", max_output_tokens=5)).json()
    told = ("reasoning", "text", "tools", "tool_choice", "truncation", "previous_response_id")

    again = await gateway.post(
        "/v1/responses", input="Bonjour", max_output_tokens=5, **{k: reply[k] for k in told}
    )

    assert again.status_code == 200, again.text


@pytest.mark.parametrize(
    ("path", "history", "param"),
    [
        ("/v1/chat/completions", {"role": "user", "content": None}, "messages[1].content"),
        (
            "/v1/chat/completions",
            {"role": "user", "content": [{"type": "thinking", "thinking": "hm"}]},
            "messages[1].content[0]",
        ),
        (
            "/v1/chat/completions",
            {"role": "assistant", "tool_calls": [{"function": {}}]},
            "messages[1].tool_calls[0].function.name",
        ),
        (
            "/v1/messages",
            {"role": "user", "content": [{"type": "image", "source": {}}]},
            "messages[1].content[0]",
        ),
        ("/v1/messages", {"role": "user"}, "messages[1].content"),
        ("/v1/responses", {"type": "item_reference", "id": "x"}, "input[1]"),
        ("/v1/responses", {"type": ["message"]}, "input[1].type"),
    ],
)
async def test_what_cannot_be_read_is_refused_by_its_place(
    gateway: RunningGateway, path: str, history: dict[str, Any], param: str
) -> None:
    key = "input" if path == "/v1/responses" else "messages"

    reply = await gateway.post(path, **{key: [USER, history]}, max_tokens=1)

    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(param)
