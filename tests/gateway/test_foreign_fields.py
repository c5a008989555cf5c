"""Fields that clients of other servers send: taken where they mean nothing here, else refused.

Two lists: what is accepted without effect, and what no compatible route may ignore.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.harness import RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Bonjour"}]
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "Bonjour"},
    "/v1/responses": {"input": "Bonjour"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 3},
}

ACCEPTED: dict[str, Any] = {
    "user": "me",
    "store": False,
    "metadata": {"a": "b"},
    "service_tier": "auto",
    "safety_identifier": "a",
    "prompt_cache_key": "a",
    "priority": 3,
    "request_id": "a",
    "keep_alive": "5m",
    "ignore_eos": True,
    "min_tokens": 2,
    "top_k": 5,
    "min_p": 0.1,
    "seed": 7,
    "stop": None,
    "n": 1,
    "logprobs": None,
    "tools": None,
    "parallel_tool_calls": False,
    "response_format": {"type": "text"},
    "skip_special_tokens": False,
    "spaces_between_special_tokens": True,
    "include_stop_str_in_output": False,
    "allowed_token_ids": [],
    "length_penalty": 1.0,
    "something_new": [1, 2, 3],
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", ACCEPTED)
async def test_what_asks_for_nothing_is_accepted(
    gateway: RunningGateway, path: str, name: str
) -> None:
    body = {**ROUTES[path], name: ACCEPTED[name]}

    reply = await gateway.post(path, **({"max_tokens": 3} | body))

    assert reply.status_code == 200, reply.text


REFUSED: dict[str, Any] = {
    "adapter_id": "pirate",
    "allowed_token_ids": [1],
    "bad_words": ["x"],
    "chat_template": "{{ x }}",
    "chat_template_kwargs": {"enable_thinking": True},
    "do_sample": False,
    "documents": [{"text": "x"}],
    "ebnf": "root ::= 'a'",
    "grammar": "root ::= 'a'",
    "guided_choice": ["a"],
    "guided_json": {},
    "guided_regex": "a+",
    "include_stop_str_in_output": True,
    "json_schema": {},
    "language": "fr",
    "logits_processors": ["x"],
    "logprob_token_ids": [1],
    "lora": [{"id": 0, "scale": 1.0}],
    "lora_path": "x",
    "max_output_tokens": 0,
    "min_new_tokens": 3,
    "n": 9,
    "n_predict": 5,
    "options": {"num_ctx": 4},
    "prompt_embeds": "AAAA",
    "prompt_logprobs": 1,
    "regex": "a",
    "repeat_penalty": 1.2,
    "return_token_ids": True,
    "seed": -(2**63) - 1,
    "structured_outputs": {"json": {}},
    "temperature": 2.1,
    "truncate_prompt_tokens": 5,
    "typical_p": 0.5,
    "use_beam_search": True,
    "vllm_xargs": {"a": 1},
    "watermark": True,
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", REFUSED)
async def test_a_field_that_would_change_the_answer_is_never_ignored(
    gateway: RunningGateway, path: str, name: str
) -> None:
    reply = await gateway.post(path, **ROUTES[path], **{name: REFUSED[name]})

    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["message"].startswith(name)
    assert error.get("param", name) == name


OF_CHAT: dict[str, Any] = {
    "add_generation_prompt": False,
    "add_special_tokens": True,
    "audio": {"voice": "x"},
    "best_of": 2,
    "echo": True,
    "functions": [{"name": "f"}],
    "modalities": ["audio"],
    "prompt": "Bonjour",
    "reasoning_effort": "high",
    "stop_sequences": ["a"],
    "tool_choice": "required",
    "tools": [{"type": "function"}],
}


@pytest.mark.parametrize("name", OF_CHAT)
async def test_nor_is_one_of_chat(gateway: RunningGateway, name: str) -> None:
    reply = await gateway.post("/v1/chat/completions", messages=MESSAGES, **{name: OF_CHAT[name]})

    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported", name)


OF_COMPLETIONS: dict[str, Any] = {
    "functions": [{"name": "f"}],
    "messages": MESSAGES,
    "stop_sequences": ["a"],
    "suffix": "a",
    "tool_choice": "required",
    "tools": [{"type": "function"}],
    "top_logprobs": 2,
}


@pytest.mark.parametrize("name", OF_COMPLETIONS)
async def test_nor_is_one_of_completions(gateway: RunningGateway, name: str) -> None:
    reply = await gateway.post("/v1/completions", prompt="a", **{name: OF_COMPLETIONS[name]})

    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported", name)


LENGTHS = {
    "/generate": ({"prompt": "a"}, ("max_tokens", "max_new_tokens", "max_completion_tokens")),
    "/v1/completions": ({"prompt": "a"}, ("max_tokens", "max_completion_tokens")),
    "/v1/chat/completions": ({"messages": MESSAGES}, ("max_tokens", "max_completion_tokens")),
    "/v1/responses": ({"input": "a"}, ("max_tokens", "max_output_tokens")),
}
LENGTH_CASES = [(path, name) for path, (_, names) in LENGTHS.items() for name in names]


@pytest.mark.parametrize(("path", "name"), LENGTH_CASES)
async def test_every_name_of_the_length_works_and_is_told_as_it_was_sent(
    gateway: RunningGateway, path: str, name: str
) -> None:
    body = LENGTHS[path][0]

    usage = (await gateway.post(path, **body, **{name: 3})).json()["usage"]
    refused = await gateway.post(path, **body, **{name: 0})

    assert usage.get("completion_tokens", usage.get("output_tokens")) == 3
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, name)
    assert error["message"].startswith(f"{name} is 0")


@pytest.mark.parametrize("path", LENGTHS)
async def test_two_lengths_that_differ_are_refused(gateway: RunningGateway, path: str) -> None:
    body, (first, *_, last) = LENGTHS[path]

    refused = await gateway.post(path, **body, **{first: 3, last: 4})
    alike = await gateway.post(path, **body, **{first: 3, last: 3})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, first)
    assert alike.status_code == 200


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
async def test_sampling_fields_of_our_own_work_on_every_route(
    gateway: RunningGateway, path: str
) -> None:
    async def text(**fields: Any) -> str:
        body = {"max_tokens": 40, "seed": 5, **fields}
        reply = (await gateway.post(path, **(ROUTES[path] | body))).json()
        content = reply["content"] if path == "/v1/messages" else reply["output"][0]["content"]
        return str(content[0]["text"])

    whole = await text()
    stop = whole[10:14]

    assert await text(stop=[stop]) == whole[: whole.index(stop)]
    assert await text(seed=6) != whole


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_tokens": 5}, "max_tokens"),
        ({"prompt_embeds": "AAAA"}, "prompt_embeds"),
        ({"parameters": {"max_tokens": 5}}, "max_tokens"),
        ({"parameters": {"chat_template": "x"}}, "chat_template"),
        ({"parameters": {"num_beams": 2}}, "num_beams"),
        ({"parameters": {"typical_p": 0.9}}, "typical_p"),
        ({"parameters": {"watermark": True}}, "watermark"),
        ({"stream": True, "parameters": {"decoder_input_details": True}}, "decoder_input_details"),
    ],
)
@pytest.mark.parametrize("path", ["/generate", "/generate_stream", "/"])
async def test_tgi_routes_are_closed(
    gateway: RunningGateway, path: str, body: dict[str, Any], param: str
) -> None:
    reply = await gateway.post(path, inputs="Bonjour", **body)

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


async def test_tgi_clients_may_send_every_parameter_as_null(gateway: RunningGateway) -> None:
    names = (
        *("do_sample", "max_new_tokens", "repetition_penalty", "frequency_penalty", "best_of"),
        *("return_full_text", "stop", "seed", "temperature", "top_k", "top_p", "truncate"),
        *("typical_p", "watermark", "details", "decoder_input_details", "top_n_tokens", "grammar"),
    )

    reply = await gateway.post(
        "/", inputs="Bonjour", parameters=dict.fromkeys(names), options={"use_cache": False}
    )

    assert reply.status_code == 200, reply.text


async def test_tgis_older_name_of_stop_works(gateway: RunningGateway) -> None:
    async def text(**parameters: Any) -> str:
        given = {"max_new_tokens": 40, "do_sample": True, "seed": 5, **parameters}
        reply = await gateway.post("/generate", inputs="Bonjour", parameters=given)
        return str(reply.json()["generated_text"])

    whole = await text()
    stop = whole[10:14]

    assert await text(stop_sequences=[stop]) == whole[: whole.index(stop)]
