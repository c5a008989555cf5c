"""How tokens are chosen: one frozen value from the request to the sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Scores divided by less would leave float32. What is sampled at it is the best token anyway.
_COLDEST = 1e-5


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """Every field has its final value; see :mod:`avikam.protocol.wire` for defaults.

    ``max_tokens`` is ``None`` for "as many as the context holds".
    """

    max_tokens: int | None = None
    min_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    json_schema: str | None = None
    regex: str | None = None

    @property
    def grammar(self) -> bool:
        """Whether the answer must match something."""
        return self.json_schema is not None or self.regex is not None

    @property
    def greedy(self) -> bool:
        """Whether the best token is always taken."""
        return self.temperature < _COLDEST
