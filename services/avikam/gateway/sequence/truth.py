"""What a frame may say: a worker that says more than it can know is not believed.

Bad memory, a broken build and somebody else's program on a worker's port look alike from here. What
cannot be true is a failure of that worker alone; the sequence goes on elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from avikam.gateway.errors import row_failed
from avikam.gateway.sequence.failure import Failure, Kind, deadline, untrue
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import worker_pb2

_NOT_SAID = sys.maxsize
# The longest reason of the engine that is passed on, in characters.
_REASON_CHARS = 500


class Truth:
    """What one attempt's frames are held to: ``vocab_size`` and ``context`` (tokens of prompt and
    answer together) of the worker's model; 0 where a worker does not say."""

    __slots__ = ("_context", "_most_tokens", "_prompt_ids", "_vocab_size")

    def __init__(self, request: worker_pb2.SequenceRequest, vocab_size: int, context: int) -> None:
        sampling = request.sampling
        most = context
        if sampling.HasField("max_tokens"):
            most = sampling.max_tokens
        elif request.HasField("default_max_tokens"):
            most = request.default_max_tokens
        self._most_tokens = most or _NOT_SAID
        self._vocab_size = vocab_size or _NOT_SAID
        self._context = context or _NOT_SAID
        self._prompt_ids = len(request.prompt.tokens.ids)

    def check(self, frame: worker_pb2.SequenceFrame, accepted: worker_pb2.Accepted | None) -> None:
        """Of a frame with tokens, or the end. Raises Failure, also for the ends that are not the
        client's: the sequence goes on elsewhere, or its error is told."""
        tokens = frame.token_ids
        if tokens:
            self._check_tokens(frame, tokens)
        if frame.HasField("finish"):
            self._check_finish(frame.finish, accepted)

    def check_accepted(self, accepted: worker_pb2.Accepted) -> None:
        """Of what the worker says as it takes the sequence. Raises Failure."""
        length = accepted.prompt_tokens
        if self._prompt_ids and length != self._prompt_ids:
            raise untrue(f"a prompt of {length} tokens, {self._prompt_ids} were sent")
        if not 1 <= length <= self._context:
            raise untrue(f"a prompt of {length} tokens, in a context of {self._context}")

    def _check_tokens(self, frame: worker_pb2.SequenceFrame, tokens: Sequence[int]) -> None:
        count = frame.first_index + len(tokens)
        if count > self._most_tokens:
            raise untrue(f"{count} tokens, of {self._most_tokens} at most")
        if max(tokens) >= self._vocab_size:
            raise untrue(f"token {max(tokens)}, of a vocabulary of {self._vocab_size}")
        if frame.logprobs and len(frame.logprobs) > len(tokens):
            raise untrue(f"{len(frame.logprobs)} logprobs of {len(tokens)} tokens")

    def _check_finish(
        self, finish: worker_pb2.Finish, accepted: worker_pb2.Accepted | None
    ) -> None:
        match finish.reason:
            case pb.FINISH_REASON_STOP | pb.FINISH_REASON_LENGTH:
                if accepted is not None:
                    self._check_cached(finish.timings.cached_tokens, accepted.prompt_tokens)
            case pb.FINISH_REASON_CANCELLED:
                # Not by us: the worker stops and hands over.
                raise Failure(Kind.BROKE_OFF, "cancelled by the worker")
            case pb.FINISH_REASON_ERROR:
                error = row_failed(finish.error[:_REASON_CHARS])
                raise Failure(Kind.UNCOMPUTABLE, "cannot be computed", error)
            case pb.FINISH_REASON_DEADLINE:
                raise deadline()
            case reason:
                raise untrue(f"an end for the reason {reason}")

    def _check_cached(self, cached: int, prompt: int) -> None:
        if cached > prompt:
            raise untrue(f"{cached} cached tokens of a prompt of {prompt}")
