"""Requests as protobuf: what a client gave, and the prompts in their three forms.

Sampling fields travel as "given or absent": an absent field is the model's to choose, so that the
gateway needs no copy of ``generation_config.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from avikam.protocol.off_values import in_our_spelling
from avikam.protocol.sampling import SamplingParams
from avikam.protocol.validation import check_sampling
from avikam.v1 import generation_pb2 as pb

ROLES: Mapping[str, pb.Role] = {
    "system": pb.ROLE_SYSTEM,
    "user": pb.ROLE_USER,
    "assistant": pb.ROLE_ASSISTANT,
}


def given_sampling(message: pb.SamplingParams) -> dict[str, Any]:
    """The fields that ``message`` carries, with Python's own types."""
    given = {field.name: value for field, value in message.ListFields()}
    if "logit_bias" in given:
        given["logit_bias"] = dict(given["logit_bias"])
    for name in ("stop", "stop_token_ids"):
        if name in given:
            given[name] = tuple(given[name])
    return given


def checked_sampling(given: Mapping[str, Any]) -> pb.SamplingParams:
    """The given fields as a message; raises the first one that is out of range."""
    ours = in_our_spelling(given)
    check_sampling(SamplingParams(**ours))
    return pb.SamplingParams(**ours)


def text_prompt(text: str) -> pb.Prompt:
    """A document to continue."""
    return pb.Prompt(text=text)


def token_prompt(ids: Iterable[int]) -> pb.Prompt:
    """Ids to continue, taken as they are."""
    return pb.Prompt(tokens=pb.TokenIds(ids=ids))


def chat_prompt(messages: Iterable[tuple[str, str]]) -> pb.Prompt:
    """Turns of (role, content) for the assistant to answer."""
    turns = (pb.ChatMessage(role=ROLES[role], content=content) for role, content in messages)
    return pb.Prompt(chat=pb.ChatMessages(messages=turns))
