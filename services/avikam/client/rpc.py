"""The public gRPC service, ``avikam.v1.InferenceService``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, cast

import grpc
from typing_extensions import Unpack

from avikam.client.answer import Answer, Piece, answer_of
from avikam.client.errors import AvikamError, ConnectionFailed, DeadlineExceeded, error_of
from avikam.client.request import Prompt, Sampling, generation, prompt_message
from avikam.client.retries import IDEMPOTENCY_HEADER, Retries, new_idempotency_key
from avikam.client.streaming import PieceReader
from avikam.protocol.limits import LIMITS
from avikam.protocol.rpc_errors import from_trailers
from avikam.v1 import inference_pb2
from avikam.v1.inference_pb2_grpc import InferenceServiceStub

DEFAULT_TIMEOUT = 300.0
# Our own retries know the gateway's wishes; a frozen peer is noticed by the keepalive.
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.max_send_message_length", LIMITS.grpc_message_bytes),
    ("grpc.max_receive_message_length", LIMITS.grpc_message_bytes),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
)
Metadata = tuple[tuple[str, str], ...]
_Opened = tuple[Any, inference_pb2.GenerateStreamResponse]
# The stubs do not know it.
_EOF: Any = cast("Any", grpc.aio).EOF


class _Rpc:
    """What the blocking and the asyncio client share."""

    def __init__(self, api_key: str | None, timeout: float, retries: Retries) -> None:
        self._retries = retries
        self._timeout = timeout
        self._key: Metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()

    def _metadata(self) -> Metadata:
        return (*self._key, (IDEMPOTENCY_HEADER, new_idempotency_key()))


class GrpcClient(_Rpc):
    """Blocking. Use it as a context manager, or :meth:`close` it; threads may share one.

    ``credentials`` are gRPC's own (``grpc.ssl_channel_credentials``); without them the channel is
    plain text.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:9000",
        api_key: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(api_key, timeout, retries or Retries())
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=_OPTIONS)
        self._stub: Any = InferenceServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; what still runs is cancelled."""
        self._channel.close()

    def generate(
        self,
        *prompts: Prompt,
        model: str = "",
        n: int = 1,
        language: str = "",
        **sampling: Unpack[Sampling],
    ) -> Answer:
        """Continue prompts (text, token ids or chat messages), each ``n`` times.

        Raises :class:`AvikamError`.
        """
        message = generation(prompts, sampling, model=model, n=n, language=language)
        return answer_of(self._call(self._stub.Generate, message))

    def stream(
        self,
        *prompts: Prompt,
        model: str = "",
        n: int = 1,
        language: str = "",
        **sampling: Unpack[Sampling],
    ) -> Iterator[Piece]:
        """The same, piece by piece. Closing the iterator stops the generation."""
        message = generation(prompts, sampling, model=model, n=n, language=language)
        call, first = self._retries.blocking()(self._open, message, self._metadata())
        reader = PieceReader()
        try:
            yield reader.read(first)
            with _rpc_errors():
                for following in call:
                    yield reader.read(following)
        finally:
            call.cancel()
        reader.close()

    def tokenize(
        self, prompt: Prompt, *, model: str = "", add_special_tokens: bool = True
    ) -> list[int]:
        """Ids of a prompt."""
        message = inference_pb2.TextTokenizeRequest(
            prompt=prompt_message(prompt), model=model, add_special_tokens=add_special_tokens
        )
        return list(self._call(self._stub.Tokenize, message).token_ids)

    def models(self) -> list[str]:
        """Ids of what is served."""
        return _model_ids(self._call(self._stub.ListModels, inference_pb2.ListModelsRequest()))

    def _call(self, method: Callable[..., Any], message: Any) -> Any:
        return self._retries.blocking()(self._call_once, method, message, self._metadata())

    def _call_once(self, method: Callable[..., Any], message: Any, metadata: Metadata) -> Any:
        with _rpc_errors():
            return method(message, timeout=self._timeout, metadata=metadata)

    def _open(self, message: inference_pb2.GenerateRequest, metadata: Metadata) -> _Opened:
        """A stream with its first message: until then it may be asked for again."""
        with _rpc_errors():
            call = self._stub.GenerateStream(message, timeout=self._timeout, metadata=metadata)
            return call, next(call)


class AsyncGrpcClient(_Rpc):
    """For asyncio. Use it as an async context manager, or :meth:`aclose` it."""

    def __init__(
        self,
        address: str = "127.0.0.1:9000",
        api_key: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(api_key, timeout, retries or Retries())
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        self._stub: Any = InferenceServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the channel; what still runs is cancelled."""
        await self._channel.close(None)

    async def generate(
        self,
        *prompts: Prompt,
        model: str = "",
        n: int = 1,
        language: str = "",
        **sampling: Unpack[Sampling],
    ) -> Answer:
        """See :meth:`GrpcClient.generate`."""
        message = generation(prompts, sampling, model=model, n=n, language=language)
        return answer_of(await self._call(self._stub.Generate, message))

    async def stream(
        self,
        *prompts: Prompt,
        model: str = "",
        n: int = 1,
        language: str = "",
        **sampling: Unpack[Sampling],
    ) -> AsyncIterator[Piece]:
        """See :meth:`GrpcClient.stream`."""
        message = generation(prompts, sampling, model=model, n=n, language=language)
        retrying = self._retries.asynchronous()
        opened: _Opened = await retrying(self._open, message, self._metadata())
        call, first = opened
        reader = PieceReader()
        try:
            yield reader.read(first)
            with _rpc_errors():
                while (following := await call.read()) is not _EOF:
                    yield reader.read(following)
        finally:
            call.cancel()
        reader.close()

    async def tokenize(
        self, prompt: Prompt, *, model: str = "", add_special_tokens: bool = True
    ) -> list[int]:
        """Ids of a prompt."""
        message = inference_pb2.TextTokenizeRequest(
            prompt=prompt_message(prompt), model=model, add_special_tokens=add_special_tokens
        )
        return list((await self._call(self._stub.Tokenize, message)).token_ids)

    async def models(self) -> list[str]:
        """Ids of what is served."""
        reply = await self._call(self._stub.ListModels, inference_pb2.ListModelsRequest())
        return _model_ids(reply)

    async def _call(self, method: Callable[..., Any], message: Any) -> Any:
        retrying = self._retries.asynchronous()
        return await retrying(self._call_once, method, message, self._metadata())

    async def _call_once(self, method: Callable[..., Any], message: Any, metadata: Metadata) -> Any:
        with _rpc_errors():
            return await method(message, timeout=self._timeout, metadata=metadata)

    async def _open(self, message: inference_pb2.GenerateRequest, metadata: Metadata) -> _Opened:
        with _rpc_errors():
            call = self._stub.GenerateStream(message, timeout=self._timeout, metadata=metadata)
            first = await call.read()
            if first is _EOF:
                raise ConnectionFailed("the stream ended before it began")
            return call, first


@contextmanager
def _rpc_errors() -> Iterator[None]:
    """gRPC's exceptions as ours."""
    try:
        yield
    except StopIteration:
        raise ConnectionFailed("the stream ended before it began") from None
    except grpc.RpcError as error:
        raise _error_of(cast("grpc.Call", error)) from error


def _error_of(call: Any) -> AvikamError:
    metadata = tuple(call.trailing_metadata() or ())
    pairs = cast("Sequence[tuple[str, str | bytes]]", metadata)
    request_id = next((str(value) for key, value in pairs if key == "x-request-id"), "")
    details = call.details() or ""
    told = from_trailers(details, pairs)
    if told is not None:
        return error_of(told, request_id)
    if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("no answer within the client's time-out", status=504)
    return ConnectionFailed(f"the call failed: {call.code().name.lower()}: {details}")


def _model_ids(reply: inference_pb2.ListModelsResponse) -> list[str]:
    return [*(model.id for model in reply.models), *(adapter.name for adapter in reply.adapters)]
