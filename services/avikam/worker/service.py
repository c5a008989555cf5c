"""``avikam.v1.WorkerService``: each method finds its engine and says what it has to say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from avikam.engine.interface import Engine
from avikam.protocol.errors import invalid
from avikam.protocol.limits import LIMITS
from avikam.v1 import generation_pb2, worker_pb2, worker_pb2_grpc
from avikam.worker.compiling import Compiling
from avikam.worker.errors import Context
from avikam.worker.exchange import Exchange
from avikam.worker.file_work import FileWork
from avikam.worker.generate import Caller, Generation
from avikam.worker.metrics import WorkerMetrics
from avikam.worker.status import StatusBoard
from avikam.worker.streams import Streams
from avikam.worker.trust import Trust
from avikam.worker.wire import check_ids, checked_form, encode

if TYPE_CHECKING:
    from avikam.worker.sequence_trace import WorkerTracing


class WorkerService(worker_pb2_grpc.WorkerServiceServicer):
    """The worker's side of the contract with the gateway. Methods have the protocol's names.

    Streams are coroutines that write, not generators: a cancelled call then ends inside its write,
    where a generator would wait for the garbage collector with its slot still taken.
    """

    def __init__(
        self,
        board: StatusBoard,
        streams: Streams,
        metrics: WorkerMetrics,
        trust: Trust,
        tracing: WorkerTracing | None = None,
    ) -> None:
        self._board = board
        self._streams = streams
        self._metrics = metrics
        self._trust = trust
        self._tracing = tracing
        self._files = FileWork()
        self._compiling = Compiling()

    async def Generate(  # type: ignore[override]  # noqa: N802
        self, request: worker_pb2.SequenceRequest, context: Caller
    ) -> None:
        """Write a sequence's frames as they come."""
        self._trust.heed(request)
        if self._tracing is None:
            await self._generation().run(request, context)
            return
        with self._tracing.sequence(request) as trace:
            await self._generation().run(request, context, trace)

    def _generation(self) -> Generation:
        engine = self._board.engine_for_new_work()
        return Generation(engine, self._streams, self._metrics, self._compiling)

    async def Exchange(  # type: ignore[override]  # noqa: N802
        self, requests: object, context: Context
    ) -> None:
        """Carry all sequences of one gateway in one call."""
        exchange = Exchange(self.Generate, self._metrics.count_refusal, self._board.most_lines)
        await exchange.run(context, self._board.closed)

    async def WatchStatus(  # type: ignore[override]  # noqa: N802
        self, request: worker_pb2.WatchStatusRequest, context: Context
    ) -> None:
        """Write the worker's status now and at every change."""
        async for status in self._board.watch():
            await context.write(status)

    async def Tokenize(  # noqa: N802
        self, request: worker_pb2.TokenizeRequest, context: Context
    ) -> worker_pb2.TokenizeResponse:
        """Ids of a prompt. Raises ApiError (400)."""
        engine = self._board.engine_or_refuse()
        checked_form(request.prompt, "", engine, LIMITS.tokenize_chars)
        return await asyncio.to_thread(_tokenize, request, engine)

    async def Detokenize(  # noqa: N802
        self, request: worker_pb2.DetokenizeRequest, context: Context
    ) -> worker_pb2.DetokenizeResponse:
        """Text of ids. Raises ApiError (400)."""
        engine = self._board.engine_or_refuse()
        if len(request.token_ids) > LIMITS.tokenize_chars:
            raise invalid(
                f"{len(request.token_ids)} token ids, at most {LIMITS.tokenize_chars}", "token_ids"
            )
        check_ids(request.token_ids, engine.model.vocab_size, "token_ids")
        text = await asyncio.to_thread(engine.decode, request.token_ids)
        return worker_pb2.DetokenizeResponse(text=text)

    async def LoadAdapter(  # noqa: N802
        self, request: worker_pb2.LoadAdapterRequest, context: Context
    ) -> worker_pb2.LoadAdapterResponse:
        """Make an adapter folder known by a name. Raises ApiError (400, 503)."""
        engine = self._board.engine_or_refuse()
        info = await self._files.run(lambda: engine.load_adapter(request.name, request.path))
        self._board.refresh()
        adapter = generation_pb2.Adapter(name=info.name, digest=info.digest, bytes=info.bytes)
        return worker_pb2.LoadAdapterResponse(adapter=adapter)

    async def UnloadAdapter(  # noqa: N802
        self, request: worker_pb2.UnloadAdapterRequest, context: Context
    ) -> worker_pb2.UnloadAdapterResponse:
        """Forget an adapter's name. Raises ApiError (404)."""
        self._board.engine_or_refuse().unload_adapter(request.name)
        self._board.refresh()
        return worker_pb2.UnloadAdapterResponse()


def _tokenize(request: worker_pb2.TokenizeRequest, engine: Engine) -> worker_pb2.TokenizeResponse:
    found = _spans(request, engine)
    ids = [token for token, _, _ in found] if found is not None else _ids(request, engine)
    return worker_pb2.TokenizeResponse(
        token_ids=ids,
        pieces=[engine.piece(token) for token in ids],
        max_model_len=engine.model.max_model_len,
        starts=[start for _, start, _ in found or ()],
        stops=[stop for _, _, stop in found or ()],
        tokenizer=_described(engine) if request.describe else None,
    )


def _spans(
    request: worker_pb2.TokenizeRequest, engine: Engine
) -> list[tuple[int, int, int]] | None:
    """Where a text's tokens stand in it; none for other prompts."""
    if not request.prompt.HasField("text"):
        return None
    return engine.spans(request.prompt.text, framed=request.add_special_tokens)


def _ids(request: worker_pb2.TokenizeRequest, engine: Engine) -> list[int]:
    return encode(request.prompt, "", engine)


def _described(engine: Engine) -> worker_pb2.TokenizerInfo:
    facts = engine.facts()
    return worker_pb2.TokenizerInfo(
        kind=facts.kind,
        bos_token=facts.begin,
        eos_token=facts.end,
        end_ids=facts.ends,
        adds_bos=facts.adds_begin,
        chat_template=facts.chat_template,
    )
