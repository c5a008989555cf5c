"""A client's request on its way through the gateway, and the sequences it becomes."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from avikam.gateway.budget.room import Hold
from avikam.gateway.limits.allowance import Allowance
from avikam.gateway.sequence.journal import Journal
from avikam.gateway.traces import RequestTrace
from avikam.gateway.workers.pool import Target
from avikam.protocol.limits import LIMITS
from avikam.protocol.requests import GenerationRequest
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import worker_pb2

# What the gateway assumes of an answer whose length the model chooses.
_USUAL_ANSWER = 256
_CHARACTERS_PER_TOKEN = 4


class _Work:
    """What goes on when its call has ended, and holds what the call held."""

    held = 0


@dataclass(slots=True, eq=False)
class Generation:
    """A validated request, and what the handler found out about it.

    ``deadline`` is on the gateway's monotonic clock, in seconds. ``model`` (a model's or an
    adapter's name), ``fingerprint`` (of the model as it is served) and ``journals`` (one per
    answer, in order) are there once the request is routed.
    What a ``streamed`` answer has told is not kept longer than continuing it needs. ``size`` is
    the body's, in bytes; ``hold`` is what the request holds of the room for large ones. ``trace``
    is there when requests are traced.
    """

    id: str
    request: GenerationRequest
    deadline: float
    tenant: str = ""
    priority: int = 0
    allowance: Allowance | None = None
    hold: Hold | None = None
    size: int = 0
    streamed: bool = False
    model: str = ""
    fingerprint: str = ""
    journals: list[Journal] = field(default_factory=list)
    trace: RequestTrace | None = None

    def outlive_call(self) -> Callable[[], None]:
        """The work goes on without the call that asked for it: its place among those that run at
        once and its room in memory are taken until what is returned is called."""
        hold = self.hold
        leave = self.allowance.outlive_call() if self.allowance is not None else None
        if hold is not None:
            hold.move(_Work())

        def end() -> None:
            if hold is not None:
                hold.give_back()
            if leave is not None:
                leave()

        return end

    def grow(self, size: int) -> None:
        """Hold ``size`` bytes more. Raises a 503 or a 413."""
        if self.hold is not None:
            self.hold.add(size)


def sequences(
    generation: Generation, model: str, adapter: str, rng: random.Random
) -> Iterator[tuple[Journal, Target]]:
    """Every prompt ``n`` times, each made when its turn has come: thousands would be copies of
    prompts and sampling that nobody runs yet. The answers to one prompt have seeds in a row.

    A seed the client did not give is drawn here, so that any worker continues the same noise;
    53 bits survive clients that keep numbers in doubles.
    """
    request = generation.request
    several = request.n > 1 or len(request.prompts) > 1
    seeded = request.sampling.HasField("seed")
    for prompt_index, prompt in enumerate(request.prompts):
        target = Target(model, adapter, prefix_key(prompt), cost(prompt, request.sampling))
        for choice in range(request.n):
            suffix = f"-{prompt_index}-{choice}" if several else ""
            message = worker_pb2.SequenceRequest(
                request_id=generation.id + suffix,
                prompt=prompt,
                sampling=request.sampling,
                adapter=adapter,
                tenant=generation.tenant,
                priority=generation.priority,
                language=request.language,
                default_max_tokens=request.default_max_tokens,
            )
            seed = request.sampling.seed + choice if seeded else rng.getrandbits(53)
            message.sampling.seed = seed % (LIMITS.seed + 1)
            yield (
                Journal(message, prompt_index, choice, keep_logprobs=not generation.streamed),
                target,
            )


def prefix_key(prompt: pb.Prompt) -> int:
    """Equal for prompts that begin alike: a document's first characters, a chat's first turns."""
    match prompt.WhichOneof("form"):
        case "chat":
            start = "\0".join(turn.content[:256] for turn in prompt.chat.messages[:2])
        case "tokens":
            start = str(prompt.tokens.ids[:64])
        case _:
            start = prompt.text[:256]
    return zlib.crc32(start.encode())


def cost(prompt: pb.Prompt, sampling: pb.SamplingParams) -> int:
    """Tokens it will probably take: the prompt and half of what may be generated."""
    match prompt.WhichOneof("form"):
        case "tokens":
            length = len(prompt.tokens.ids)
        case "chat":
            length = sum(len(turn.content) for turn in prompt.chat.messages)
            length //= _CHARACTERS_PER_TOKEN
        case _:
            length = len(prompt.text) // _CHARACTERS_PER_TOKEN
    answer = sampling.max_tokens if sampling.HasField("max_tokens") else _USUAL_ANSWER
    return length + answer // 2
