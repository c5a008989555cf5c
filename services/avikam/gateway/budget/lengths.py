"""Prompts that no worker would read are refused here, before anything of them is copied."""

from __future__ import annotations

from collections.abc import Iterable

from avikam.protocol.errors import context_overflow, text_overflow
from avikam.protocol.limits import LIMITS
from avikam.protocol.requests import GenerationRequest
from avikam.v1 import generation_pb2 as pb


def check_lengths(asked: GenerationRequest, context: int) -> None:
    """Raise a 400 for a prompt that cannot fit into ``context`` tokens; 0 is unknown."""
    if not context:
        return
    wanted = asked.sampling.max_tokens if asked.sampling.HasField("max_tokens") else 1
    check_prompts(asked.prompts, context, wanted)


def check_prompts(prompts: Iterable[pb.Prompt], context: int, wanted: int) -> None:
    """The same of prompts that ``wanted`` tokens are to follow."""
    most = min(LIMITS.token_chars * context, LIMITS.prompt_chars)
    for prompt in prompts:
        if len(prompt.tokens.ids) >= context:
            raise context_overflow(context, len(prompt.tokens.ids), wanted)
        characters = len(prompt.text) + sum(len(turn.content) for turn in prompt.chat.messages)
        if characters > most:
            raise text_overflow(characters, most, context)
