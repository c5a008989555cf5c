"""What the client has of one sequence: enough to go on elsewhere, and to write the reply.

    frame(attempt, first_index, tokens)      next = tokens so far
      another attempt          -> dropped    a worker that came back from the dead
      first_index == next      -> kept
      last index  <  next      -> dropped    a repeat
      anything else            -> the worker is given up: a gap, or an overlap

A frame enters the journal before the client sees it, so a continuation never repeats or loses one.
"""

from __future__ import annotations

from avikam.gateway.sequence.failure import untrue
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import worker_pb2


class Journal:
    """One sequence: the request for it, and everything generated so far.

    ``prompt_index`` and ``choice`` say which prompt of the client's request it continues, and
    which of that prompt's ``n`` answers it is. ``retries``, ``resumes`` and ``moved`` are what
    going on after failures has used up: see :mod:`avikam.gateway.sequence.recovery`. A stream has
    told its logprobs and needs them no more: with twenty alternatives, those of one answer are
    megabytes.
    """

    __slots__ = (
        "_forgotten",
        "_keep_logprobs",
        "accepted",
        "attempt",
        "choice",
        "finish",
        "first_token_at",
        "logprobs",
        "moved",
        "prompt_index",
        "request",
        "resumes",
        "retries",
        "started_at",
        "text",
        "tokens",
    )

    def __init__(
        self,
        request: worker_pb2.SequenceRequest,
        prompt_index: int = 0,
        choice: int = 0,
        *,
        keep_logprobs: bool = True,
    ) -> None:
        self.request = request
        self.prompt_index = prompt_index
        self.choice = choice
        self.attempt = 0
        self.retries = 0
        self.resumes = 0
        self.moved = False
        self.accepted: worker_pb2.Accepted | None = None
        self.tokens: list[int] = []
        self.text: list[str] = []
        self.logprobs: list[pb.TokenLogprobs] = []
        self._keep_logprobs = keep_logprobs
        self._forgotten = 0
        self.finish: worker_pb2.Finish | None = None
        self.started_at = 0.0
        self.first_token_at = 0.0

    @property
    def whole_text(self) -> str:
        """Everything the client was given."""
        return "".join(self.text)

    @property
    def count(self) -> int:
        """How many tokens were generated."""
        return self._forgotten + len(self.tokens)

    def close(self, *, told: bool) -> None:
        """Keep of an answer that has ended what is said of it later: text, usage and timings; only
        the last two of one that was ``told`` as it came. A frame's parts would keep the whole
        message alive that it came in."""
        seed = self.request.sampling.seed
        self.request = worker_pb2.SequenceRequest(sampling=pb.SamplingParams(seed=seed))
        if self.accepted is not None:
            prompt_tokens = self.accepted.prompt_tokens
            self.accepted = worker_pb2.Accepted(seed=seed, prompt_tokens=prompt_tokens)
        if self.finish is not None:
            ended, self.finish = self.finish, worker_pb2.Finish()
            self.finish.CopyFrom(ended)
            if told:
                self.finish.ClearField("prompt_logprobs")
        if told:
            self._forgotten, self.tokens = len(self.tokens), []
        self.text = [] if told else [self.whole_text]

    def next_request(self) -> worker_pb2.SequenceRequest:
        """The request for the next attempt: what was generated goes along, with its seed."""
        self.attempt += 1
        request = self.request
        request.attempt = self.attempt
        if self.tokens:
            del request.generated[:]
            request.generated.extend(self.tokens)
        if self.accepted is not None:
            request.sampling.seed = self.accepted.seed
        return request

    def keep(self, frame: worker_pb2.SequenceFrame) -> bool:
        """Enter a frame; False when it is to be dropped. Raises Failure out of order."""
        if frame.attempt != self.attempt:
            return False
        tokens = frame.token_ids
        if tokens:
            first, expected = frame.first_index, len(self.tokens)
            if first != expected and _is_repeat(first, len(tokens), expected):
                return False
            self.tokens.extend(tokens)
        elif frame.HasField("accepted"):
            self.accepted = frame.accepted
        text = frame.text
        if text:
            self.text.append(text)
        if self._keep_logprobs and frame.logprobs:
            self.logprobs.extend(frame.logprobs)
        if frame.HasField("finish"):
            self.finish = frame.finish
        return True


def _is_repeat(first: int, count: int, expected: int) -> bool:
    """Whether tokens that are not the next ones are all known. Raises Failure otherwise."""
    if first + count <= expected:
        return True
    raise untrue(f"tokens {first}..{first + count - 1} came, {expected} was next")
