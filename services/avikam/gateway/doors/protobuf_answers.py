"""Answers as our own protobuf messages: for gRPC, and for protobuf bodies over HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence

from avikam.gateway.generation import Generation
from avikam.gateway.handler import News
from avikam.gateway.sequence.journal import Journal
from avikam.gateway.workers.pool import Pool
from avikam.protocol.errors import ApiError
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2


def listing(pool: Pool) -> inference_pb2.ListModelsResponse:
    """What the ready workers have."""
    return inference_pb2.ListModelsResponse(
        models=[model for _, model in sorted(pool.models.items())],
        adapters=[adapter for _, adapter in sorted(pool.adapters.items())],
    )


class MessageWriter:
    """Writes the messages of one request."""

    def __init__(self, request_id: str) -> None:
        self._id = f"gen-{request_id}"
        self._created = int(time.time())

    def whole(self, generation: Generation) -> inference_pb2.GenerateResponse:
        """The complete answer."""
        journals = generation.journals
        return inference_pb2.GenerateResponse(
            id=self._id,
            model=generation.model,
            created=self._created,
            choices=[_choice(journal) for journal in journals],
            usage=_usage(journals),
            timings=_timings(journals),
        )

    def piece(
        self, generation: Generation, news: News
    ) -> inference_pb2.GenerateStreamResponse | None:
        """What one frame adds, or None for nothing."""
        journal, frame = news
        if not frame.token_ids and not frame.text and journal.finish is None:
            return None
        delta = inference_pb2.Choice(
            prompt_index=journal.prompt_index,
            index=journal.choice,
            text=frame.text,
            token_ids=frame.token_ids,
            logprobs=frame.logprobs,
        )
        if journal.finish is not None:
            delta.finish_reason = journal.finish.reason
            delta.prompt_logprobs.extend(journal.finish.prompt_logprobs)
        return inference_pb2.GenerateStreamResponse(
            id=self._id, model=generation.model, delta=delta
        )

    def closing(self, generation: Generation) -> inference_pb2.GenerateStreamResponse:
        """The last message: usage and timings, no choice."""
        return inference_pb2.GenerateStreamResponse(
            id=self._id,
            model=generation.model,
            usage=_usage(generation.journals),
            timings=_timings(generation.journals),
        )

    def failure(self, error: ApiError) -> inference_pb2.GenerateStreamResponse:
        """The end of a stream that could not be finished."""
        return inference_pb2.GenerateStreamResponse(
            id=self._id,
            error=inference_pb2.StreamError(
                message=error.message, type=error.type, code=error.code
            ),
        )


def _choice(journal: Journal) -> inference_pb2.Choice:
    finish = journal.finish
    return inference_pb2.Choice(
        prompt_index=journal.prompt_index,
        index=journal.choice,
        text=journal.whole_text,
        finish_reason=finish.reason if finish is not None else pb.FINISH_REASON_UNSPECIFIED,
        token_ids=journal.tokens,
        logprobs=journal.logprobs,
        prompt_logprobs=finish.prompt_logprobs if finish is not None else (),
    )


def _usage(journals: Sequence[Journal]) -> pb.Usage:
    firsts = (journal for journal in journals if journal.choice == 0)
    return pb.Usage(
        prompt_tokens=sum(j.accepted.prompt_tokens for j in firsts if j.accepted is not None),
        completion_tokens=sum(journal.count for journal in journals),
    )


def _timings(journals: Sequence[Journal]) -> pb.Timings:
    """Of the slowest sequence."""
    finished = [journal.finish.timings for journal in journals if journal.finish is not None]
    return pb.Timings(
        queue_seconds=max((t.queue_seconds for t in finished), default=0.0),
        prefill_seconds=max((t.prefill_seconds for t in finished), default=0.0),
        decode_seconds=max((t.decode_seconds for t in finished), default=0.0),
        cached_tokens=sum(t.cached_tokens for t in finished),
    )
