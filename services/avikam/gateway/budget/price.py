"""What a request's answers will take of the gateway's memory, before any of them is begun.

    a sequence       2 KiB      its journal, also when it has ended: the usage is told at the end
    a token          64 bytes   kept until a whole answer is written; a stream forgets it
    an alternative   192 bytes  as it came, and as it is written: logprobs=20 tells 21 of a token

Without logprobs a whole answer is taken to have a usual length, and pays for more when it is there:
the engine's slots bound what may be under way. With logprobs every token costs kilobytes, so the
longest answer that was asked for is paid for at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.limits import LIMITS, MIB, Limits
from avikam.protocol.requests import GenerationRequest
from avikam.v1 import generation_pb2 as pb

SEQUENCE_BYTES = 2048
TOKEN_BYTES = 64
ALTERNATIVE_BYTES = 192
# A token with its piece, as a worker tells them, as they are taken apart, and as they are written.
_TOKENIZED_BYTES = 160
# What is assumed of an answer whose length the model chooses.
_USUAL_ANSWER = 256


def price(
    asked: GenerationRequest, streamed: bool, context: int, at_once: int, limits: Limits = LIMITS
) -> int:
    """Bytes that the answers take at most.

    ``context`` is the model's, in tokens; ``at_once`` is how many sequences of a request run at the
    same time. Raises a 400 for an answer that would be too much at once.
    """
    sequences = asked.n * len(asked.prompts)
    whole = 0 if streamed else sequences * _answer(asked, context)
    told = at_once if streamed else sequences
    whole += min(told, sequences) * _prompt_logprobs(asked, context)
    if whole > limits.answer_bytes:
        raise _too_much(whole, streamed, limits.answer_bytes)
    return sequences * SEQUENCE_BYTES + whole


def told(asked: GenerationRequest, tokens: int) -> int:
    """Bytes that one whole answer of ``tokens`` took beyond what was paid for."""
    if asked.sampling.HasField("logprobs"):
        return 0
    return TOKEN_BYTES * max(tokens - _USUAL_ANSWER, 0)


def tokenized(size: int) -> int:
    """Bytes that the tokens of ``size`` bytes of text take: each byte may be one."""
    return _TOKENIZED_BYTES * size


def _answer(asked: GenerationRequest, context: int) -> int:
    """Bytes of one whole answer."""
    sampling = asked.sampling
    with_logprobs = sampling.HasField("logprobs")
    longest = context or _USUAL_ANSWER
    usual = longest if with_logprobs else min(longest, _USUAL_ANSWER)
    named = sampling.max_tokens if sampling.HasField("max_tokens") else asked.default_max_tokens
    tokens = usual if named is None else min(named, longest)
    if not with_logprobs:
        return TOKEN_BYTES * min(tokens, _USUAL_ANSWER)
    return tokens * (TOKEN_BYTES + ALTERNATIVE_BYTES * (1 + sampling.logprobs))


def _prompt_logprobs(asked: GenerationRequest, context: int) -> int:
    """Bytes of the logprobs of the longest prompt."""
    if not asked.sampling.HasField("prompt_logprobs"):
        return 0
    longest = max(_most_tokens(asked.prompts), default=0)
    tokens = min(longest, context) if context else longest
    return tokens * ALTERNATIVE_BYTES * (1 + asked.sampling.prompt_logprobs)


def _most_tokens(prompts: Iterable[pb.Prompt]) -> Iterable[int]:
    """At most as many tokens as each prompt has: a text has no more than bytes, and its frame."""
    return (1 + prompt.ByteSize() for prompt in prompts)


def _too_much(size: int, streamed: bool, most: int) -> ApiError:
    stream = "" if streamed else "stream it, or "
    return invalid(
        f"With its logprobs the answer may take {-(-size // MIB)} MiB at once, at most "
        f"{most // MIB}; {stream}ask for fewer tokens, alternatives, choices or prompts.",
        "logprobs",
        "answer_too_large",
    )
