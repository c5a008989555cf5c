"""Every field of every product is read, refused by its name, or known to change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from avikam.gateway.api.foreign.harmless import HARMLESS
from avikam.gateway.api.foreign.refused import REFUSED
from tests.gateway.harness import RunningGateway
from tests.gateway.product_schemas import PRODUCTS, every_field

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Bonjour"}]
BODIES: dict[str, dict[str, Any]] = {
    "/generate": {"inputs": "a", "parameters": {"max_new_tokens": 1}},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 1},
    "/v1/completions": {"prompt": "a", "max_tokens": 1},
    "/v1/responses": {"input": "a", "max_output_tokens": 1},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 1},
    "/v1/messages/count_tokens": {"messages": MESSAGES},
}
# Counting reads messages alone: what is generated from them does not matter.
NOT_COUNTED = {"tools", "tool_choice"}
# Of this object the known entries are read; one that nobody knows changes nothing.
LOOSE = {"text"}
REQUIRED = {"messages", "prompt", "input", ("/v1/messages", "max_tokens")}
# No field takes this value, and it asks for something wherever fields are compared.
ODD = {"nobody": ["takes this"]}


def body_with(route: str, name: str) -> dict[str, Any]:
    body = BODIES[route]
    if route == "/generate":
        return {**body, "parameters": {**body["parameters"], name: ODD}}
    return {**body, name: ODD}


@pytest.mark.parametrize("product", PRODUCTS)
async def test_no_field_is_dropped_in_silence(gateway: RunningGateway, product: str) -> None:
    silent, unnamed = [], []
    for _, route, name in (one for one in every_field() if one[0] == product):
        reply = await gateway.post(route, **body_with(route, name))
        if reply.status_code == 200:
            uncounted = route.endswith("count_tokens") and name in NOT_COUNTED
            known = name in HARMLESS or name in LOOSE or uncounted
            silent += [] if known else [(route, name)]
        elif name not in reply.json()["error"]["message"]:
            unnamed.append((route, name, reply.text))

    assert silent == []
    assert unnamed == []


async def test_null_asks_for_nothing_whatever_the_field(gateway: RunningGateway) -> None:
    for _, route, name in every_field():
        required = (name in REQUIRED and name in BODIES[route]) or (route, name) in REQUIRED
        body = body_with(route, name)
        (body["parameters"] if route == "/generate" else body)[name] = None

        reply = await gateway.post(route, **body)

        assert reply.status_code == (400 if required else 200), (route, name, reply.text)


async def test_a_field_is_in_one_table() -> None:
    assert HARMLESS.keys().isdisjoint(REFUSED)
