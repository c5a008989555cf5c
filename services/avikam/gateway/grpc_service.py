"""``avikam.v1.InferenceService``: the public API over gRPC, on the same handler as REST."""

from __future__ import annotations

from contextlib import aclosing

from avikam.gateway.app import Gateway
from avikam.gateway.generation import Generation
from avikam.gateway.grpc_door import Context, current_call
from avikam.gateway.messages import MessageWriter
from avikam.protocol.requests import from_message
from avikam.v1 import inference_pb2, inference_pb2_grpc


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    """Methods have the protocol's names; the door turns what they raise into a status.

    The call's deadline is the request's. A cancelled call cancels its sequences on the workers:
    streams are coroutines that write, so that this happens at the write, not at some later
    collection of a generator.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def Generate(  # noqa: N802
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> inference_pb2.GenerateResponse:
        generation = self._generation(request, context)
        await self._gateway.handler.collect(generation)
        return MessageWriter(generation.id).whole(generation)

    async def GenerateStream(  # type: ignore[override]  # noqa: N802
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> None:
        generation = self._generation(request, context)
        writer = MessageWriter(generation.id)
        async with aclosing(self._gateway.handler.frames(generation)) as news:
            async for item in news:
                piece = writer.piece(generation, item)
                if piece is not None:
                    await context.write(piece)
        await context.write(writer.closing(generation))

    async def Tokenize(  # noqa: N802
        self, request: inference_pb2.TextTokenizeRequest, context: Context
    ) -> inference_pb2.TextTokenizeResponse:
        return await self._gateway.tokenizing.answer(request)

    async def ListModels(  # noqa: N802
        self, request: inference_pb2.ListModelsRequest, context: Context
    ) -> inference_pb2.ListModelsResponse:
        pool = self._gateway.pool
        return inference_pb2.ListModelsResponse(
            models=[model for _, model in sorted(pool.models.items())],
            adapters=[adapter for _, adapter in sorted(pool.adapters.items())],
        )

    def _generation(self, message: inference_pb2.GenerateRequest, context: Context) -> Generation:
        call, settings = current_call.get(), self._gateway.settings
        given = context.time_remaining()
        longest = settings.max_request_timeout_seconds
        seconds = settings.request_timeout_seconds if given is None else min(given, longest)
        return Generation(
            id=call.id,
            request=from_message(message),
            deadline=call.started + seconds,
            own_deadline=given is not None,
            tenant=call.tenant,
            allowance=call.allowance,
        )
