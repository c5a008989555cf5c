"""What the load tests send: short prompts in both languages, all different."""

from __future__ import annotations

import json
import os
from itertools import count

from avikam.v1 import inference_pb2

PROTOBUF = "application/x-protobuf"
_OPENINGS = (
    "Le matin, la mer était",
    "The harbour was quiet until",
    "Dans la cuisine, elle préparait",
    "When the train finally left,",
)
_numbers = count()


def prompt() -> str:
    """A prompt that no prefix cache has seen as a whole."""
    number = next(_numbers)
    return f"{_OPENINGS[number % len(_OPENINGS)]} {number}"


def json_body(max_tokens: int) -> bytes:
    """A body of POST /generate."""
    return json.dumps({"prompt": prompt(), "max_tokens": max_tokens}).encode()


def protobuf_message(max_tokens: int) -> inference_pb2.GenerateRequest:
    """The same as a message."""
    request = inference_pb2.GenerateRequest()
    request.prompts.add().text = prompt()
    request.sampling.max_tokens = max_tokens
    return request


def headers(content_type: str = "application/json") -> dict[str, str]:
    """Headers of a request; the key comes from AVIKAM_API_KEY."""
    key = os.environ.get("AVIKAM_API_KEY")
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    return {"Content-Type": content_type, **authorization}
