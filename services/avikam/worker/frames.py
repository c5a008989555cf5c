"""From the engine's deltas to the frames of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from avikam.engine.interface import (
    Delta,
    Engine,
    Finish,
    FinishReason,
    SequenceSpec,
    TokenChoice,
)
from avikam.v1 import generation_pb2, worker_pb2

_REASONS = {
    FinishReason.STOP: generation_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: generation_pb2.FINISH_REASON_LENGTH,
    FinishReason.CANCELLED: generation_pb2.FINISH_REASON_CANCELLED,
    FinishReason.DEADLINE: generation_pb2.FINISH_REASON_DEADLINE,
    FinishReason.ERROR: generation_pb2.FINISH_REASON_ERROR,
}

# Of tokens that came while the reader was behind: some 80 KiB with twenty alternatives each.
MOST_LOGPROBS = 32


class FrameWriter:
    """Turns a sequence's deltas into frames that join what belongs together."""

    def __init__(self, engine: Engine, attempt: int) -> None:
        self._engine = engine
        self._attempt = attempt

    def accepted(self, spec: SequenceSpec) -> worker_pb2.SequenceFrame:
        """The first frame: admitted, nothing computed."""
        return worker_pb2.SequenceFrame(
            attempt=self._attempt,
            first_index=len(spec.generated),
            engine_step=self._engine.stats().step,
            accepted=worker_pb2.Accepted(seed=spec.sampling.seed, prompt_tokens=len(spec.prompt)),
        )

    def heartbeat(self, index: int) -> worker_pb2.SequenceFrame:
        """A frame without tokens, so that silence is told from death."""
        return worker_pb2.SequenceFrame(
            attempt=self._attempt, first_index=index, engine_step=self._engine.stats().step
        )

    def preparing(self) -> worker_pb2.SequenceFrame:
        """A frame that says that the sequence's grammar is being compiled."""
        return worker_pb2.SequenceFrame(attempt=self._attempt, preparing=True)

    def frames(self, deltas: Sequence[Delta]) -> Iterator[worker_pb2.SequenceFrame]:
        """As few frames as tell the deltas: one, unless their indices leave the row, or there are
        more logprobs than a slow reader should be sent at once."""
        frame: worker_pb2.SequenceFrame | None = None
        next_index = 0
        for delta in deltas:
            full = frame is not None and len(frame.logprobs) >= MOST_LOGPROBS
            if frame is None or full or delta.first_index != next_index:
                if frame is not None:
                    yield frame
                frame = worker_pb2.SequenceFrame(
                    attempt=self._attempt, first_index=delta.first_index
                )
            self._add(frame, delta)
            next_index = delta.first_index + len(delta.tokens)
        if frame is not None:
            yield frame

    def _add(self, frame: worker_pb2.SequenceFrame, delta: Delta) -> None:
        frame.token_ids.extend(delta.tokens)
        if delta.text:
            frame.text += delta.text
        if delta.choices:
            frame.logprobs.extend(self._logprobs(choice) for choice in delta.choices)
        if delta.finish is not None:
            frame.finish.CopyFrom(self._finish(delta.finish))

    def _finish(self, finish: Finish) -> worker_pb2.Finish:
        timings = finish.timings
        return worker_pb2.Finish(
            reason=_REASONS[finish.reason],
            stop_match=finish.stop_match,
            usage=generation_pb2.Usage(
                prompt_tokens=finish.prompt_tokens, completion_tokens=finish.completion_tokens
            ),
            timings=generation_pb2.Timings(
                queue_seconds=timings.queue,
                prefill_seconds=timings.prefill,
                decode_seconds=timings.decode,
                cached_tokens=timings.cached_tokens,
            ),
            prompt_logprobs=[self._logprobs(choice) for choice in finish.prompt_choices],
            error=finish.error,
        )

    def _logprobs(self, choice: TokenChoice) -> generation_pb2.TokenLogprobs:
        return generation_pb2.TokenLogprobs(
            chosen=self._logprob(choice.token, choice.logprob),
            top=[self._logprob(token, logprob) for token, logprob in choice.top],
            rank=choice.rank,
        )

    def _logprob(self, token: int, logprob: float) -> generation_pb2.TokenLogprob:
        data = self._engine.token_bytes(token)
        return generation_pb2.TokenLogprob(
            token_id=token,
            text=data.decode(errors="replace"),
            logprob=logprob,
            token_bytes=data,
        )
