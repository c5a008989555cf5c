"""What comes back, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2


@dataclass(frozen=True, slots=True)
class Choice:
    """One whole answer. ``finish_reason`` is ``stop`` or ``length``."""

    prompt_index: int
    index: int
    text: str
    finish_reason: str
    token_ids: tuple[int, ...]
    logprobs: tuple[pb.TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[pb.TokenLogprobs, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answers to all prompts of a request, in their order."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int

    @property
    def text(self) -> str:
        """The only answer's text. Raises ValueError where there are several."""
        (choice,) = self.choices
        return choice.text


@dataclass(frozen=True, slots=True)
class Piece:
    """What one message of a stream adds to one answer.

    ``finish_reason`` is set on an answer's last piece. The stream's very last piece has no text;
    it carries the token counts.
    """

    text: str = ""
    prompt_index: int = 0
    index: int = 0
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[pb.TokenLogprobs, ...] = ()
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def answer_of(message: inference_pb2.GenerateResponse) -> Answer:
    """A whole reply."""
    return Answer(
        id=message.id,
        model=message.model,
        choices=tuple(_choice(choice) for choice in message.choices),
        prompt_tokens=message.usage.prompt_tokens,
        completion_tokens=message.usage.completion_tokens,
        cached_tokens=message.timings.cached_tokens,
    )


def piece_of(message: inference_pb2.GenerateStreamResponse) -> Piece:
    """A message of a stream that is no error."""
    delta = message.delta
    counted = message.HasField("usage")
    return Piece(
        text=delta.text,
        prompt_index=delta.prompt_index,
        index=delta.index,
        token_ids=tuple(delta.token_ids),
        logprobs=tuple(delta.logprobs),
        finish_reason=_reason(delta.finish_reason) or None,
        prompt_tokens=message.usage.prompt_tokens if counted else None,
        completion_tokens=message.usage.completion_tokens if counted else None,
    )


def _choice(choice: inference_pb2.Choice) -> Choice:
    return Choice(
        prompt_index=choice.prompt_index,
        index=choice.index,
        text=choice.text,
        finish_reason=_reason(choice.finish_reason),
        token_ids=tuple(choice.token_ids),
        logprobs=tuple(choice.logprobs),
        prompt_logprobs=tuple(choice.prompt_logprobs),
    )


def _reason(reason: pb.FinishReason) -> str:
    if reason == pb.FINISH_REASON_UNSPECIFIED:
        return ""
    return pb.FinishReason.Name(reason).removeprefix("FINISH_REASON_").lower()
