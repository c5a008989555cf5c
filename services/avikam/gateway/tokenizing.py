"""Tokenizer calls on some ready worker of a model: all of these speak alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from avikam.gateway.errors import no_worker_ready
from avikam.gateway.sequence.failure import Again, of_call
from avikam.gateway.workers.catalog import Catalog
from avikam.gateway.workers.pool import Pool
from avikam.protocol.requests import check_known, check_prompt
from avikam.protocol.wire import text_prompt
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2, worker_pb2
from avikam.v1.worker_pb2_grpc import WorkerServiceStub

_SECONDS = 10.0


class Tokenizing:
    """Tokenize and detokenize; a worker that fails is replaced once by another.

    ``model`` is a name as clients have it for models and adapters; 404 for one that nobody has.
    """

    def __init__(self, pool: Pool, catalog: Catalog) -> None:
        self._pool = pool
        self._catalog = catalog

    async def tokenize(
        self, prompt: pb.Prompt, add_special_tokens: bool, model: str = ""
    ) -> worker_pb2.TokenizeResponse:
        """Ids and pieces of a prompt."""
        request = worker_pb2.TokenizeRequest(prompt=prompt, add_special_tokens=add_special_tokens)
        reply: worker_pb2.TokenizeResponse = await self._call(
            lambda stub: stub.Tokenize, request, model
        )
        return reply

    async def answer(
        self, message: inference_pb2.TextTokenizeRequest
    ) -> inference_pb2.TextTokenizeResponse:
        """The public API's own message; by default with the prompt's frame."""
        check_known(message)
        check_prompt(message.prompt)
        framed = message.add_special_tokens if message.HasField("add_special_tokens") else True
        reply = await self.tokenize(message.prompt, framed, message.model)
        return inference_pb2.TextTokenizeResponse(
            token_ids=reply.token_ids, pieces=reply.pieces, max_model_len=reply.max_model_len
        )

    async def detokenize(self, ids: Sequence[int], model: str = "") -> str:
        """Text of ids."""
        request = worker_pb2.DetokenizeRequest(token_ids=ids)
        reply: worker_pb2.DetokenizeResponse = await self._call(
            lambda stub: stub.Detokenize, request, model
        )
        return reply.text

    async def describe(self, model: str = "") -> worker_pb2.TokenizerInfo:
        """What the tokenizer is: its special tokens and its chat template."""
        request = worker_pb2.TokenizeRequest(prompt=text_prompt("."), describe=True)
        reply: worker_pb2.TokenizeResponse = await self._call(
            lambda stub: stub.Tokenize, request, model
        )
        return reply.tokenizer

    async def _call(
        self, method: Callable[[WorkerServiceStub], Any], request: Any, model: str
    ) -> Any:
        base, _ = self._catalog.find(model)
        fitting = [worker for worker in self._pool.ready if worker.model == base]
        last = no_worker_ready()
        for worker in sorted(fitting, key=lambda worker: worker.sequences)[:2]:
            try:
                return await method(worker.stub)(request, timeout=_SECONDS)
            except grpc.aio.AioRpcError as error:
                failure = of_call(error)
                if failure.meaning.again is Again.NO:
                    raise failure.error from None
                last = failure.error
        raise last
