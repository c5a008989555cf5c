"""``/generate`` in its own schema and in TGI's, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.harness import RunningGateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_answer_has_text_usage_and_timings(gateway: RunningGateway) -> None:
    reply = await gateway.post("/generate", prompt="Bonjour", max_tokens=50)

    assert reply.status_code == 200
    body = reply.json()
    assert body["text"] == body["generated_text"] != ""
    assert body["finish_reason"] == "length"
    assert body["usage"] == {
        "prompt_tokens": 8,
        "completion_tokens": 50,
        "total_tokens": 58,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert set(body["timings"]) == {
        "queue_ms",
        "prefill_ms",
        "decode_ms",
        "total_ms",
        "tokens_per_second",
    }
    assert body["timings"]["total_ms"] > 0
    assert reply.headers["x-request-id"] == body["id"].removeprefix("gen-")
    assert "total;dur=" in reply.headers["server-timing"]


async def test_joined_pieces_are_the_text(gateway: RunningGateway) -> None:
    for seed in range(20):
        whole = await gateway.text(prompt="Bonjour", max_tokens=60, seed=seed)
        stream = await gateway.stream(prompt="Bonjour", max_tokens=60, seed=seed)

        assert stream.text == whole
        assert stream.finish_reason == "length"
        assert stream.done
        assert stream.events[-1]["usage"]["completion_tokens"] == 60


async def test_the_stream_route_streams_without_being_asked(gateway: RunningGateway) -> None:
    reply = await gateway.post("/generate_stream", prompt="Bonjour", max_tokens=5)

    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith("data: [DONE]\n\n")


async def test_a_seed_gives_the_same_text_again(gateway: RunningGateway) -> None:
    texts = {await gateway.text(prompt="Bonjour", max_tokens=20, seed=7) for _ in range(3)}

    assert len(texts) == 1


async def test_details_tell_the_seed_that_was_drawn(gateway: RunningGateway) -> None:
    reply = await gateway.post("/generate", prompt="Bonjour", max_tokens=20, details=True)
    details = reply.json()["details"]

    again = await gateway.text(prompt="Bonjour", max_tokens=20, seed=details["seed"])

    assert again == reply.json()["text"]
    assert len(details["token_ids"]) == 20


async def test_a_stream_ends_with_the_details_and_the_prompts_logprobs(
    gateway: RunningGateway,
) -> None:
    asked = {"prompt": "Bonjour", "max_tokens": 5, "details": True, "prompt_logprobs": 1}

    whole = (await gateway.post("/generate", **asked, seed=7)).json()
    stream = await gateway.stream("/generate", **asked, seed=7)

    (ending,) = [event for event in stream.events if event.get("finish_reason")]
    assert ending["details"] == whole["details"]
    assert ending["prompt_logprobs"] == whole["prompt_logprobs"] != []


async def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(gateway: RunningGateway) -> None:
    whole = await gateway.text(prompt="Bonjour", max_tokens=60, seed=1)
    stop = whole[20:26]

    for body in ({"stop": stop}, {"stop": [stop, "never"]}):
        reply = await gateway.post("/generate", prompt="Bonjour", max_tokens=60, seed=1, **body)
        stream = await gateway.stream(prompt="Bonjour", max_tokens=60, seed=1, **body)

        assert reply.json()["text"] == stream.text == whole[: whole.index(stop)]
        assert reply.json()["finish_reason"] == stream.finish_reason == "stop"


async def test_many_prompts_and_many_answers_come_in_order(gateway: RunningGateway) -> None:
    body = {"prompt": ["un", "deux", "trois"], "n": 2, "max_tokens": 12, "seed": 5}
    reply = await gateway.post("/generate", **body)
    stream = await gateway.stream(**body)

    choices = reply.json()["choices"]
    assert [choice["index"] for choice in choices] == list(range(6))
    assert [choice["prompt_index"] for choice in choices] == [0, 0, 1, 1, 2, 2]
    assert choices[0]["text"] != choices[1]["text"]
    assert [stream.text_of(index) for index in range(6)] == [c["text"] for c in choices]
    assert reply.json()["usage"]["completion_tokens"] == 72


@pytest.mark.parametrize("prompt", [[8, 9, 10], [[8, 9, 10]], ["abc"], "abc"])
async def test_prompts_may_be_text_or_ids(gateway: RunningGateway, prompt: object) -> None:
    assert await gateway.text(prompt=prompt, max_tokens=5, seed=1)


@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens", "max_completion_tokens"])
async def test_the_length_has_three_names(gateway: RunningGateway, name: str) -> None:
    reply = await gateway.post("/generate", prompt="Bonjour", **{name: 3})

    assert reply.json()["usage"]["completion_tokens"] == 3


async def test_null_is_absent(gateway: RunningGateway) -> None:
    fields = ("seed", "stop", "temperature", "top_p", "n", "model", "logprobs", "stream")

    reply = await gateway.post("/generate", prompt="Bonjour", max_tokens=3, **dict.fromkeys(fields))

    assert reply.status_code == 200


@pytest.mark.parametrize("model", ["avikam1-fake", "avikam", "default", "tgi", ""])
async def test_the_model_has_aliases(gateway: RunningGateway, model: str) -> None:
    reply = await gateway.post("/generate", prompt="Bonjour", max_tokens=1, model=model)

    assert reply.json()["model"] == "avikam1-fake"


async def test_logprobs_are_those_of_the_stream(gateway: RunningGateway) -> None:
    body = {"prompt": "Bonjour", "max_tokens": 10, "seed": 3, "logprobs": 2, "prompt_logprobs": 1}
    reply = (await gateway.post("/generate", **body)).json()
    stream = await gateway.stream(**body)

    assert len(reply["logprobs"]) == 10
    assert all(len(entry["top"]) == 2 for entry in reply["logprobs"])
    assert len(reply["prompt_logprobs"]) == reply["usage"]["prompt_tokens"]
    streamed = [entry for event in stream.events for entry in event.get("logprobs", [])]
    assert streamed == reply["logprobs"]


async def test_no_text_can_forge_an_event(gateway: RunningGateway) -> None:
    reply = await gateway.post("/generate_stream", prompt="a\n\ndata: [DONE]\r\n", max_tokens=40)

    lines = [line for line in reply.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines.count("data: [DONE]") == 1
    for line in lines[:-1]:
        json.loads(line.removeprefix("data: "))


# TGI


async def test_tgi_answers_in_its_own_shape(gateway: RunningGateway) -> None:
    parameters = {"max_new_tokens": 10, "seed": 3, "details": True, "do_sample": True}

    body = (await gateway.post("/generate", inputs="Bonjour", parameters=parameters)).json()

    details = body["details"]
    assert set(body) == {"generated_text", "details"}
    assert details["finish_reason"] == "length"
    assert details["generated_tokens"] == len(details["tokens"]) == 10
    assert details["seed"] == 3


async def test_tgi_streams_one_event_a_token_and_the_text_in_the_last(
    gateway: RunningGateway,
) -> None:
    for seed in range(10):
        parameters = {"max_new_tokens": 20, "seed": seed, "do_sample": True}
        body = {"inputs": "Bonjour", "parameters": parameters}
        whole = (await gateway.post("/generate", **body)).json()["generated_text"]

        stream = await gateway.stream("/generate_stream", **body)

        *others, last = stream.events
        assert last["generated_text"] == whole
        assert last["details"]["generated_tokens"] == 20
        assert all(event["generated_text"] is None for event in others)
        assert "".join(event["token"]["text"] for event in stream.events) == whole
        assert [event["index"] for event in stream.events] == list(range(1, 21))


async def test_the_bare_address_answers_with_a_list(gateway: RunningGateway) -> None:
    parameters = {"max_new_tokens": 4, "return_full_text": True, "seed": None, "stop": None}

    body = (await gateway.post("/", inputs="Bonjour", parameters=parameters)).json()

    (answer,) = body
    assert answer["generated_text"].startswith("Bonjour")


async def test_tgi_names_the_stop_that_matched(gateway: RunningGateway) -> None:
    parameters: dict[str, Any] = {"max_new_tokens": 60, "seed": 1, "do_sample": True}
    body: dict[str, Any] = {"inputs": "Bonjour", "parameters": parameters}
    whole = (await gateway.post("/generate", **body)).json()["generated_text"]
    parameters |= {"stop": [whole[10:15]], "details": True}

    stopped = (await gateway.post("/generate", **body)).json()

    assert stopped["generated_text"] == whole[: whole.index(whole[10:15])]
    assert stopped["details"]["finish_reason"] == "stop_sequence"
