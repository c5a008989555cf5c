"""The REST API with protobuf bodies: any size, typed both ways. JSON only in errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from google.protobuf.message import DecodeError, Message
from typing_extensions import Unpack

from avikam.client.answer import Answer, Piece, answer_of
from avikam.client.errors import ConnectionFailed, DeadlineExceeded, error_of
from avikam.client.events import Event, EventReader
from avikam.client.request import Prompt, Sampling, generation, prompt_message
from avikam.client.retries import IDEMPOTENCY_HEADER, Retries, new_idempotency_key
from avikam.client.streaming import StreamReader
from avikam.protocol.errors import ApiError
from avikam.v1 import inference_pb2

M = TypeVar("M", bound=Message)

_PROTOBUF = "application/x-protobuf"
DEFAULT_TIMEOUT = 300.0


class _Rest:
    """What the blocking and the asyncio client share."""

    def __init__(self, url: str, api_key: str | None, timeout: float, retries: Retries) -> None:
        self._retries = retries
        self._options: dict[str, Any] = {
            "base_url": url,
            "headers": {"authorization": f"Bearer {api_key}"} if api_key else {},
            "timeout": httpx.Timeout(timeout, connect=10.0),
            # Who asks a thousand things at once means it; waiting here would only hide the time.
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=256),
            "trust_env": False,
        }

    def _post(self, path: str, message: Message) -> dict[str, Any]:
        """Arguments of an httpx request."""
        return {
            "method": "POST",
            "url": path,
            "content": message.SerializeToString(),
            "headers": {
                "content-type": _PROTOBUF,
                "accept": _PROTOBUF,
                IDEMPOTENCY_HEADER: new_idempotency_key(),
            },
        }

    def _asking(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of an httpx request for a stream of OpenAI's routes, with its usage."""
        return {
            "method": "POST",
            "url": path,
            "json": {**body, "stream": True, "stream_options": {"include_usage": True}},
            "headers": {IDEMPOTENCY_HEADER: new_idempotency_key()},
        }


class Client(_Rest):
    """Blocking. Use it as a context manager, or :meth:`close` it; threads may share one."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(url, api_key, timeout, retries or Retries())
        self._http = httpx.Client(**self._options)

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
        """Close the connections."""
        self._http.close()

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
        response = self._ask(self._post("/generate", message))
        return answer_of(_read(inference_pb2.GenerateResponse, response))

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
        request = self._post("/generate_stream", message)
        response = self._retries.blocking()(self._open, request)
        reader = StreamReader(_request_id(response))
        with closing(response), _transport_errors():
            for chunk in response.iter_bytes():
                yield from reader.feed(chunk)
        reader.close()

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Event]:
        """The stream of one of OpenAI's routes, ``/v1/completions`` or ``/v1/chat/completions``,
        also of another server's; ``body`` is theirs. Closing the iterator stops the generation.

        Raises :class:`AvikamError`.
        """
        response = self._retries.blocking()(self._open, self._asking(path, body))
        reader = EventReader(_request_id(response))
        with closing(response), _transport_errors():
            for line in response.iter_lines():
                event = reader.feed(line)
                if event is not None:
                    yield event
        reader.close()

    def tokenize(
        self, prompt: Prompt, *, model: str = "", add_special_tokens: bool = True
    ) -> list[int]:
        """Ids of a prompt."""
        message = inference_pb2.TextTokenizeRequest(
            prompt=prompt_message(prompt), model=model, add_special_tokens=add_special_tokens
        )
        response = self._ask(self._post("/tokenize", message))
        return list(_read(inference_pb2.TextTokenizeResponse, response).token_ids)

    def models(self) -> list[str]:
        """Ids of what is served."""
        return _model_ids(self._ask({"method": "GET", "url": "/v1/models"}))

    def _ask(self, request: Mapping[str, Any]) -> httpx.Response:
        return self._retries.blocking()(self._ask_once, request)

    def _ask_once(self, request: Mapping[str, Any]) -> httpx.Response:
        with _transport_errors():
            response = self._http.request(**request)
        _check(response)
        return response

    def _open(self, request: Mapping[str, Any]) -> httpx.Response:
        """A stream whose headers say that it has begun."""
        with _transport_errors():
            response = self._http.send(self._http.build_request(**request), stream=True)
            if response.is_error:
                response.read()
                response.close()
        _check(response)
        return response


class AsyncClient(_Rest):
    """For asyncio. Use it as an async context manager, or :meth:`aclose` it."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retries: Retries | None = None,
    ) -> None:
        super().__init__(url, api_key, timeout, retries or Retries())
        self._http = httpx.AsyncClient(**self._options)

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
        """Close the connections."""
        await self._http.aclose()

    async def generate(
        self,
        *prompts: Prompt,
        model: str = "",
        n: int = 1,
        language: str = "",
        **sampling: Unpack[Sampling],
    ) -> Answer:
        """See :meth:`Client.generate`."""
        message = generation(prompts, sampling, model=model, n=n, language=language)
        response = await self._ask(self._post("/generate", message))
        return answer_of(_read(inference_pb2.GenerateResponse, response))

    async def stream(
        self,
        *prompts: Prompt,
        model: str = "",
        n: int = 1,
        language: str = "",
        **sampling: Unpack[Sampling],
    ) -> AsyncIterator[Piece]:
        """See :meth:`Client.stream`."""
        message = generation(prompts, sampling, model=model, n=n, language=language)
        request = self._post("/generate_stream", message)
        response: httpx.Response = await self._retries.asynchronous()(self._open, request)
        reader = StreamReader(_request_id(response))
        async with aclosing(response):
            with _transport_errors():
                async for chunk in response.aiter_bytes():
                    for piece in reader.feed(chunk):
                        yield piece
        reader.close()

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[Event]:
        """See :meth:`Client.events`."""
        request = self._asking(path, body)
        response: httpx.Response = await self._retries.asynchronous()(self._open, request)
        reader = EventReader(_request_id(response))
        async with aclosing(response):
            with _transport_errors():
                async for line in response.aiter_lines():
                    event = reader.feed(line)
                    if event is not None:
                        yield event
        reader.close()

    async def tokenize(
        self, prompt: Prompt, *, model: str = "", add_special_tokens: bool = True
    ) -> list[int]:
        """Ids of a prompt."""
        message = inference_pb2.TextTokenizeRequest(
            prompt=prompt_message(prompt), model=model, add_special_tokens=add_special_tokens
        )
        response = await self._ask(self._post("/tokenize", message))
        return list(_read(inference_pb2.TextTokenizeResponse, response).token_ids)

    async def models(self) -> list[str]:
        """Ids of what is served."""
        return _model_ids(await self._ask({"method": "GET", "url": "/v1/models"}))

    async def _ask(self, request: Mapping[str, Any]) -> httpx.Response:
        return await self._retries.asynchronous()(self._ask_once, request)

    async def _ask_once(self, request: Mapping[str, Any]) -> httpx.Response:
        with _transport_errors():
            response = await self._http.request(**request)
        _check(response)
        return response

    async def _open(self, request: Mapping[str, Any]) -> httpx.Response:
        with _transport_errors():
            response = await self._http.send(self._http.build_request(**request), stream=True)
            if response.is_error:
                await response.aread()
                await response.aclose()
        _check(response)
        return response


@contextmanager
def _transport_errors() -> Iterator[None]:
    """httpx's exceptions as ours."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise DeadlineExceeded(f"no answer within the client's time-out ({error!r})") from error
    except httpx.HTTPError as error:
        raise ConnectionFailed(f"the connection failed: {error!r}") from error


def _check(response: httpx.Response) -> None:
    """Raise what a reply other than success says."""
    if response.is_success:
        return
    raise error_of(_told(response), _request_id(response))


def _told(response: httpx.Response) -> ApiError:
    """The error envelope; something between the gateway and us may have answered in its own way."""
    after = _seconds(response.headers.get("retry-after"))
    try:
        envelope = response.json()["error"]
        message, code = str(envelope["message"]), str(envelope["code"])
        return ApiError(response.status_code, message, code, envelope["param"], after)
    except (ValueError, KeyError, TypeError):
        reason = f"{response.status_code} {response.reason_phrase}"
        return ApiError(response.status_code, f"the answer was {reason}", "", None, after)


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is not ours."""
    return float(header) if header is not None and header.isdigit() else None


def _request_id(response: httpx.Response) -> str:
    return str(response.headers.get("x-request-id", ""))


def _read(kind: type[M], response: httpx.Response) -> M:
    """The message of a reply's body."""
    try:
        return kind.FromString(response.content)
    except DecodeError:
        raise ConnectionFailed(
            "the answer is no protobuf message: is this an Avikam gateway?",
            status=response.status_code,
            request_id=_request_id(response),
        ) from None


def _model_ids(response: httpx.Response) -> list[str]:
    return [str(model["id"]) for model in response.json()["data"]]
