"""Bad input: the exact status and envelope, nothing of it repeated, and nobody else disturbed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2
from tests.gateway.harness import PROTOBUF, RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

DIGITS = "9" * 400
SIXTY_FIVE = json.dumps([str(number) for number in range(65)])


async def refuses(
    gateway: RunningGateway,
    path: str,
    body: str | bytes,
    code: str,
    param: str | None = None,
    content_type: str = "application/json",
) -> str:
    """Send it; check status, envelope and that the next request is fine. Returns the message."""
    failed = gateway.metric("attempts_failed_total", kind="unwell")

    reply = await gateway.send(path, body, content_type=content_type)

    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code), error
    if param is not None:
        assert error["param"] == param, error
    assert "9" * 65 not in reply.text
    assert len(error["message"]) < 700
    assert reply.headers["x-request-id"]
    assert gateway.metric("attempts_failed_total", kind="unwell") == failed
    assert await gateway.text(prompt="Bonjour", max_tokens=2)
    return str(error["message"])


BAD_BODIES: list[tuple[bytes | str, str]] = [
    (b"", "invalid_json_root"),
    ("null", "invalid_json_root"),
    ("[]", "invalid_json_root"),
    ('"x"', "invalid_json_root"),
    ("7", "invalid_json_root"),
    ("{", "invalid_json"),
    ('{"prompt": "a",}', "invalid_json"),
    ("{'prompt': 'a'}", "invalid_json"),
    ('{"prompt": "a"} x', "invalid_json"),
    ("prompt=a", "invalid_json"),
    ('{"prompt": NaN}', "invalid_json"),
    ('{"temperature": Infinity}', "invalid_json"),
    ("[" * 100_000, "invalid_json"),
    ('{"a":' * 50_000, "invalid_json"),
    ('{"prompt":' + "[" * 300 + "]" * 300 + "}", "invalid_json"),
    ('{"max_tokens": 1, "max_tokens": 9}', "duplicate_key"),
    ('{"prompt": "a", "json_schema": {"a": 1, "a": 2}}', "duplicate_key"),
    ('{"prompt": "\\ud800"}', "invalid_unicode"),
    ('{"\\udc00": 1}', "invalid_unicode"),
    ('{"prompt": "\\ud800\\u0041"}', "invalid_unicode"),
    (b'{"prompt": "\xff\xfe"}', "invalid_unicode"),
    (b'{"prompt": "\xc3"}', "invalid_unicode"),
    (b'{"prompt": "\xed\xa0\x80"}', "invalid_unicode"),
    ('{"prompt": "a"}'.encode("utf-16"), "invalid_unicode"),
    ('{"prompt": "a"}'.encode("utf-16-be"), "invalid_unicode"),
    ('{"prompt": "a"}'.encode("utf-32"), "invalid_unicode"),
    ('{"prompt": "a\x01"}', "invalid_json"),
]


@pytest.mark.parametrize(("body", "code"), BAD_BODIES, ids=range(len(BAD_BODIES)))
@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions"])
async def test_what_is_no_json_object(
    gateway: RunningGateway, path: str, body: bytes | str, code: str
) -> None:
    await refuses(gateway, path, body, code)


# field, values as they stand in the JSON text
BAD_FIELDS: list[tuple[str, list[str]]] = [
    ("max_tokens", ['"16"', "true", "16.5", "-2", "0", "2147483648", DIGITS, "[1]", "{}"]),
    ("min_tokens", ['"1"', "-1", "true", DIGITS]),
    ("temperature", ['"1"', "true", "-1", "2.1", "1e400", "-0.1", DIGITS, "[]"]),
    ("top_p", ["1.1", "-1", "true", '"1"', "1e400"]),
    ("top_k", ["-2", "1.5", "true", '"5"', DIGITS]),
    ("min_p", ["-1", "1.1", "true"]),
    ("repetition_penalty", ["0", "-1", "1e400", "true"]),
    ("presence_penalty", ["-2.1", "2.1", "true"]),
    ("frequency_penalty", ["-2.1", "2.1", '"1"']),
    ("seed", ["-9223372036854775809", "18446744073709551616", "1.5", '"1"', "true", DIGITS]),
    ("stop", ["5", "[5]", "[null]", SIXTY_FIVE, f'"{"9" * 257}"', "{}"]),
    ("stop_token_ids", ["5", '["5"]', "[-1]", f"[{DIGITS}]", "[true]", "[1.5]"]),
    ("logit_bias", ["5", '{"a": 1}', '{"-1": 1}', '{"5": 101}', '{"5": 1e400}', '{"5": true}']),
    ("logit_bias", [f'{{"5": {DIGITS}}}', f'{{"{DIGITS}": 1}}']),
    ("logprobs", ["-1", "21", "1000000", '"1"', "1.5", DIGITS]),
    ("n", ["0", "-1", "9", '"2"', "1.5", "true", DIGITS]),
    ("stream", ['"yes"', "1", "0"]),
    ("model", ["5", "[]", "true", f'"{"9" * 129}"']),
    ("prompt", ['""', "[]", '[""]', "[[]]", "5", "{}", "[1, -1]", '[1, "a"]', "[true]", "null"]),
    ("prompt", ["[[[1]]]", "[1.5]", f"[{DIGITS}]", "[9223372036854775808]", '["a", []]']),
    ("language", ['"de"', "5", '""' + " "]),
    ("json_schema", ["5", "[]"]),
    ("regex", ["5", "[]"]),
]
LEGAL = {("language", '"" ')}
CASES = [
    (name, value) for name, values in BAD_FIELDS for value in values if (name, value) not in LEGAL
]


@pytest.mark.parametrize(
    ("name", "value"), CASES, ids=[f"{name}={value[:20]}" for name, value in CASES]
)
async def test_a_field_of_a_wrong_type_or_range(
    gateway: RunningGateway, name: str, value: str
) -> None:
    others = "" if name == "prompt" else '"prompt": "a", '
    body = f'{{{others}"{name}": {value}}}'

    reply = await gateway.send("/generate", body, content_type="application/json")

    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").startswith(name) or error["code"] == "invalid_json", error
    assert "9" * 65 not in reply.text
    assert await gateway.text(prompt="Bonjour", max_tokens=2)


HUGE = 10**400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"prompt": "a", "json_schema": {"minimum": HUGE}}),
        (
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": "a"}],
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"minimum": HUGE}},
                },
            },
        ),
        (
            "/v1/chat/completions",
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"function": {"arguments": HUGE}}]}
                ]
            },
        ),
        (
            "/generate",
            {"inputs": "a", "parameters": {"grammar": {"type": "json", "value": {"a": HUGE}}}},
        ),
        ("/generate", {"prompt": [HUGE, "a"]}),
        ("/detokenize", {"tokens": [HUGE]}),
        ("/v1/completions", {"prompt": "a", "best_of": HUGE}),
        ("/v1/completions", {"prompt": "a", "n": HUGE}),
    ],
    ids=range(8),
)
async def test_numbers_beyond_every_machine_word(
    gateway: RunningGateway, path: str, body: dict[str, Any]
) -> None:
    reply = await gateway.post(path, **body)

    assert reply.status_code == 400, reply.text
    assert "0" * 65 not in reply.text


async def test_an_unknown_field_is_told_its_nearest_name(gateway: RunningGateway) -> None:
    message = await refuses(
        gateway,
        "/generate",
        '{"prompt": "a", "max_token": 5}',
        "unknown_parameter",
        "max_token",
    )

    assert "did you mean 'max_tokens'?" in message


async def test_an_unknown_field_is_not_repeated_whole(gateway: RunningGateway) -> None:
    body = json.dumps({"prompt": "a", "9" * 5000: 5})

    await refuses(gateway, "/generate", body, "unknown_parameter")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "a", "max_tokens": 1, "max_new_tokens": 2}, "max_tokens"),
        ({"prompt": "a", "max_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ({}, "prompt"),
    ],
)
async def test_fields_that_contradict_each_other(
    gateway: RunningGateway, body: dict[str, Any], param: str
) -> None:
    reply = await gateway.post("/generate", **body)

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


@pytest.mark.parametrize("max_tokens", [1, 2048])
async def test_a_prompt_that_does_not_fit_says_by_how_much(
    gateway: RunningGateway, max_tokens: int
) -> None:
    prompt = "a" * (3000 if max_tokens == 1 else 10)

    for body in ({"stream": False}, {"stream": True}):
        reply = await gateway.post("/generate", prompt=prompt, max_tokens=max_tokens, **body)

        assert reply.status_code == 400
        error = reply.json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert "maximum context length is 2048 tokens" in error["message"]


@pytest.mark.parametrize("model", ["nobody", "../x", "%2e", "a\0b", "é", "x" * 128])
async def test_an_unknown_model_is_404_and_tells_the_known_ones(
    gateway: RunningGateway, model: str
) -> None:
    for path in ("/generate", "/v1/completions"):
        reply = await gateway.post(path, prompt="a", model=model)

        assert reply.status_code == 404
        error = reply.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_found")
        assert error["param"] == "model"
        assert "avikam1-fake" in error["message"]


BAD_CHATS: list[tuple[dict[str, Any], str]] = [
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "a"}, "messages"),
    ({"messages": ["a"]}, "messages[0]"),
    ({"messages": [{}]}, "messages[0].role"),
    ({"messages": [{"role": "nobody", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0]",
    ),
    ({"messages": [{"role": "user", "content": "a"}] * 1025}, "messages"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": 3}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_CHATS, ids=range(len(BAD_CHATS)))
async def test_a_chat_that_cannot_be_read(
    gateway: RunningGateway, fields: dict[str, Any], param: str
) -> None:
    body = {"messages": [{"role": "user", "content": "a"}], **fields}
    if not fields:
        del body["messages"]

    await_code = "missing_required_parameter" if not fields else "invalid_value"
    await refuses(gateway, "/v1/chat/completions", json.dumps(body), await_code, param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"inputs": ""}, "inputs"),
        ({"inputs": 5}, "inputs"),
        ({"inputs": "a", "parameters": 5}, "parameters"),
        ({"inputs": "a", "parameters": {"max_new_tokens": 0}}, "max_new_tokens"),
        ({"inputs": "a", "parameters": {"top_n_tokens": 99}}, "top_n_tokens"),
        ({"inputs": "a", "parameters": {"truncate": 5}}, "truncate"),
        ({"inputs": "a", "parameters": {"best_of": 2}}, "best_of"),
        ({"inputs": "a", "parameters": {"grammar": {"type": "x", "value": ""}}}, "parameters"),
    ],
)
async def test_bad_tgi_requests_name_tgi_fields(
    gateway: RunningGateway, body: dict[str, Any], param: str
) -> None:
    reply = await gateway.post("/generate", **body)

    assert reply.status_code == 400
    assert reply.json()["error"]["param"].startswith(param)


BAD_TIMEOUTS = ("", "-1", "1.5", "abc", "9" * 13, "١")


@pytest.mark.parametrize("value", BAD_TIMEOUTS)
async def test_a_deadline_is_a_whole_number(gateway: RunningGateway, value: str) -> None:
    headers = {"x-request-timeout-ms": value.encode()}

    reply = await gateway.client.post("/generate", json={"prompt": "a"}, headers=headers)

    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "x-request-timeout-ms"


# Protobuf


@pytest.mark.parametrize(
    "body",
    [b"\xff" * 30, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0a\x05a", b"\0\0"],
)
async def test_bytes_that_are_no_message(gateway: RunningGateway, body: bytes) -> None:
    await refuses(gateway, "/generate", body, "invalid_protobuf", content_type=PROTOBUF)


NAN = float("nan")
BAD_MESSAGES: list[tuple[inference_pb2.GenerateRequest, str]] = [
    (inference_pb2.GenerateRequest(), "prompt"),
    (inference_pb2.GenerateRequest(prompts=[pb.Prompt()]), "prompt"),
    (inference_pb2.GenerateRequest(prompts=[pb.Prompt(text="")]), "prompt"),
    (inference_pb2.GenerateRequest(prompts=[pb.Prompt(text="a")], n=0), "n"),
    (inference_pb2.GenerateRequest(prompts=[pb.Prompt(text="a")], language="de"), "language"),
    *(
        (
            inference_pb2.GenerateRequest(
                prompts=[pb.Prompt(text="a")], sampling=pb.SamplingParams(**{name: value})
            ),
            name,
        )
        for name, value in (
            ("temperature", NAN),
            ("temperature", float("inf")),
            ("top_p", NAN),
            ("repetition_penalty", NAN),
            ("max_tokens", 0),
            ("logprobs", 1000),
        )
    ),
]


@pytest.mark.parametrize(("message", "param"), BAD_MESSAGES, ids=range(len(BAD_MESSAGES)))
async def test_messages_are_checked_like_json(
    gateway: RunningGateway, message: inference_pb2.GenerateRequest, param: str
) -> None:
    body = message.SerializeToString()

    await refuses(gateway, "/generate", body, "invalid_value", param, PROTOBUF)
