"""``avikam.v1.InferenceService``: the public API over gRPC, on the same handler as REST."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from avikam.gateway.app import Gateway
from avikam.gateway.beside import beside
from avikam.gateway.budget.price import tokenized
from avikam.gateway.doors.grpc.interceptor import Context, current_call
from avikam.gateway.doors.protobuf_answers import MessageWriter, listing
from avikam.gateway.generation import Generation
from avikam.gateway.idempotency.answers import Add, Produce, Twice, checked_key, fingerprint
from avikam.protocol.requests import from_message
from avikam.v1 import inference_pb2, inference_pb2_grpc

_IDEMPOTENCY = "idempotency-key"


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
        """All answers of a request, whole."""
        generation = await self._generation(request, context)
        handler = self._gateway.handler

        async def produce(add: Add) -> bool:
            await handler.collect(generation)
            await add(MessageWriter(generation.id).whole(generation).SerializeToString())
            return True

        twice = await _twice("Generate", request, context)
        if twice is None:
            await handler.collect(generation)
            return MessageWriter(generation.id).whole(generation)
        async with aclosing(self._recorded(twice, produce, generation)) as parts:
            return inference_pb2.GenerateResponse.FromString(await anext(parts))

    async def GenerateStream(  # type: ignore[override]  # noqa: N802
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> None:
        """The same, written piece by piece."""
        generation = await self._generation(request, context)
        generation.streamed = True
        twice = await _twice("GenerateStream", request, context)
        if twice is None:
            async with aclosing(self._messages(generation)) as messages:
                async for message in messages:
                    await context.write(message)
            return

        async def produce(add: Add) -> bool:
            async for message in self._messages(generation):
                await add(message.SerializeToString())
            return True

        async with aclosing(self._recorded(twice, produce, generation)) as parts:
            async for part in parts:
                await context.write(inference_pb2.GenerateStreamResponse.FromString(part))

    async def Tokenize(  # noqa: N802
        self, request: inference_pb2.TextTokenizeRequest, context: Context
    ) -> inference_pb2.TextTokenizeResponse:
        """Ids of a prompt."""
        call = current_call.get()
        if call.hold is not None:
            call.hold.add(tokenized(call.size))
        return await self._gateway.tokenizing.answer(request)

    async def ListModels(  # noqa: N802
        self, request: inference_pb2.ListModelsRequest, context: Context
    ) -> inference_pb2.ListModelsResponse:
        """Models and adapters of the workers that are ready."""
        return listing(self._gateway.pool)

    async def _messages(
        self, generation: Generation
    ) -> AsyncGenerator[inference_pb2.GenerateStreamResponse, None]:
        """The stream's messages."""
        writer = MessageWriter(generation.id)
        async with aclosing(self._gateway.handler.frames(generation)) as news:
            async for item in news:
                piece = writer.piece(generation, item)
                if piece is not None:
                    yield piece
        yield writer.closing(generation)

    def _recorded(
        self, twice: Twice, produce: Produce, generation: Generation
    ) -> AsyncGenerator[bytes, None]:
        answers = self._gateway.answers
        record, _ = answers.open(twice, produce, generation)
        return answers.follow(twice, record)

    async def _generation(
        self, message: inference_pb2.GenerateRequest, context: Context
    ) -> Generation:
        call, settings = current_call.get(), self._gateway.settings
        asked = await beside(message.ByteSize(), lambda: from_message(message))
        given = context.time_remaining()
        longest = settings.max_request_timeout_seconds
        seconds = settings.request_timeout_seconds if given is None else min(given, longest)
        return Generation(
            id=call.id,
            request=asked,
            deadline=call.started + seconds,
            tenant=call.tenant,
            priority=call.priority,
            allowance=call.allowance,
            hold=call.hold,
            size=call.size,
            trace=call.trace,
        )


async def _twice(
    method: str, message: inference_pb2.GenerateRequest, context: Context
) -> Twice | None:
    """Set when the call has an idempotency key in its metadata."""
    keys = [value for name, value in context.invocation_metadata() or () if name == _IDEMPOTENCY]
    if not keys:
        return None
    key = checked_key(str(keys[0]))

    def mark() -> bytes:
        return fingerprint(method.encode(), message.SerializeToString(deterministic=True))

    return Twice(current_call.get().tenant, key, await beside(message.ByteSize(), mark))
