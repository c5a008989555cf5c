"""From a request message to what the engine takes: the worker's own look at every field."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from avikam.engine.interface import Engine, EngineModel, SequenceSpec
from avikam.protocol.errors import context_overflow, invalid, text_overflow
from avikam.protocol.limits import LIMITS
from avikam.protocol.requests import LANGUAGES, check_prompt
from avikam.protocol.sampling import SamplingParams
from avikam.protocol.validation import check_sampling
from avikam.protocol.wire import ROLES, given_sampling
from avikam.v1 import generation_pb2, worker_pb2

# A drawn seed survives a client that keeps numbers in doubles.
_SEED_BITS = 53
# Longer texts are encoded beside the event loop.
_ENCODE_INLINE_CHARACTERS = 4096
_REQUEST_ID = re.compile(r"[\x21-\x7e]{0,128}")

_ROLE_NAMES = {number: name for name, number in ROLES.items()}


async def sequence_spec(
    request: worker_pb2.SequenceRequest, engine: Engine, key: str, remaining: float | None
) -> SequenceSpec:
    """The checked request as the engine takes it, under the engine's own ``key``.

    ``remaining`` is the RPC's time in seconds. Raises :class:`ApiError` for the first problem.
    """
    if not _REQUEST_ID.fullmatch(request.request_id):
        raise invalid("request_id must be at most 128 printable ASCII characters", "request_id")
    prompt = tuple(await prompt_ids(request.prompt, request.language, engine))
    sampling = sampling_params(request, engine.model, len(prompt))
    generated = tuple(request.generated)
    _check_generated(generated, sampling, engine.model)
    return SequenceSpec(
        request_id=key,
        prompt=prompt,
        sampling=sampling,
        generated=generated,
        adapter=request.adapter,
        tenant=request.tenant,
        priority=request.priority,
        deadline=None if remaining is None else time.monotonic() + remaining,
    )


def sampling_params(
    request: worker_pb2.SequenceRequest, model: EngineModel, prompt_tokens: int
) -> SamplingParams:
    """What the request gives, the model's defaults for the rest, and a drawn seed if need be."""
    given = given_sampling(request.sampling)
    if "max_tokens" not in given:
        given["max_tokens"] = _default_length(request, model, prompt_tokens)
    params = check_sampling(replace(model.default_sampling, **given))
    for name in ("logit_bias", "stop_token_ids"):
        check_ids(getattr(params, name), model.vocab_size, name)
    if params.seed is None:
        params = replace(params, seed=secrets.randbits(_SEED_BITS))
    return params


def _default_length(
    request: worker_pb2.SequenceRequest, model: EngineModel, prompt_tokens: int
) -> int | None:
    """The length of an answer whose client named none: a default never overflows the context.

    None leaves it to the engine: as many tokens as the context holds, or, for a prompt that leaves
    no room, the engine's own words about it.
    """
    least = request.sampling.min_tokens
    room = model.max_model_len - prompt_tokens
    if least > max(room, 0):
        raise context_overflow(model.max_model_len, prompt_tokens, least)
    usual = model.default_sampling.max_tokens
    if request.HasField("default_max_tokens"):
        usual = request.default_max_tokens
    if usual is None or room < 1:
        return None
    return min(max(usual, least, 1), room)


def _check_generated(
    generated: tuple[int, ...], sampling: SamplingParams, model: EngineModel
) -> None:
    check_ids(generated, model.vocab_size, "generated")
    if sampling.max_tokens is not None and len(generated) > sampling.max_tokens:
        raise invalid(
            f"generated has {len(generated)} tokens, max_tokens is {sampling.max_tokens}",
            "generated",
        )


def check_ids(ids: Iterable[int], vocab_size: int, param: str) -> None:
    """Raise when an id is outside the vocabulary."""
    highest = max(ids, default=0)
    if highest >= vocab_size:
        raise invalid(f"{param} has token id {highest}, must be below {vocab_size}", param)


async def prompt_ids(prompt: generation_pb2.Prompt, language: str, engine: Engine) -> Sequence[int]:
    """Ids of a prompt in any of its forms, ready for the engine."""
    max_model_len = engine.model.max_model_len
    characters = checked_form(
        prompt, language, engine, min(LIMITS.token_chars * max_model_len, LIMITS.prompt_chars)
    )
    if characters <= _ENCODE_INLINE_CHARACTERS:
        return encode(prompt, language, engine)
    return await asyncio.to_thread(encode, prompt, language, engine)


def checked_form(
    prompt: generation_pb2.Prompt, language: str, engine: Engine, most_characters: int
) -> int:
    """Check what shows before the tokenizer has run; returns the number of characters."""
    check_prompt(prompt)
    if language not in LANGUAGES:
        raise invalid(f"language is {language[:16]!r}, must be fr or en", "language")
    if language and not prompt.HasField("text"):
        raise invalid("language goes with a text prompt; leave it out", "language")
    check_ids(prompt.tokens.ids, engine.model.vocab_size, "prompt")
    characters = len(prompt.text) + sum(len(turn.content) for turn in prompt.chat.messages)
    if characters > most_characters:
        raise text_overflow(characters, most_characters, engine.model.max_model_len)
    return characters


def encode(prompt: generation_pb2.Prompt, language: str, engine: Engine) -> list[int]:
    """Ids of a checked prompt, with the frame that a generation has."""
    if prompt.HasField("tokens"):
        return list(prompt.tokens.ids)
    if prompt.HasField("text"):
        return engine.encode(prompt.text, language or None)
    turns = [(_ROLE_NAMES[turn.role], turn.content) for turn in prompt.chat.messages]
    return engine.encode_chat(turns)
