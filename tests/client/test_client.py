"""The client against a real gateway, over REST and gRPC alike."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from avikam.client import (
    Answer,
    AsyncClient,
    AsyncGrpcClient,
    AuthenticationError,
    ChatMessage,
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    GrpcClient,
    InvalidRequest,
    NotFound,
    Piece,
    Retries,
    StreamInterrupted,
    Unavailable,
)
from avikam.gateway.access.key_file import write_keys
from avikam.gateway.access.keys import Key, digest, new_secret
from tests.gateway.harness import RunningGateway, gateway_at, serving
from tests.worker.harness import LOOPBACK, free_port, running_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

AnyAsync = AsyncClient | AsyncGrpcClient
ONCE = Retries(0)


def rest(gateway: RunningGateway, **options: Any) -> AsyncClient:
    return AsyncClient(gateway.server.url, **options)


def rpc(gateway: RunningGateway, **options: Any) -> AsyncGrpcClient:
    return AsyncGrpcClient(f"{LOOPBACK}:{gateway.server.grpc_port}", **options)


Transport = Callable[..., AnyAsync]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with serving(plan="ttft=5ms,tpot=1ms", grpc_port=0) as started:
        yield started


@pytest.fixture(params=[rest, rpc], ids=["rest", "grpc"])
def transport(request: pytest.FixtureRequest) -> Transport:
    """How the client talks to the gateway."""
    chosen: Transport = request.param
    return chosen


async def test_an_answer_has_text_ids_and_counts(
    gateway: RunningGateway, transport: Transport
) -> None:
    async with transport(gateway) as client:
        answer = await client.generate("Bonjour", max_tokens=9, seed=3)

    assert answer.text == await gateway.text(prompt="Bonjour", max_tokens=9, seed=3)
    assert answer.model == "avikam1-fake"
    assert answer.choices[0].finish_reason == "length"
    assert len(answer.choices[0].token_ids) == answer.completion_tokens == 9
    assert answer.prompt_tokens == 8


async def test_prompts_are_text_ids_or_turns_and_many_at_once(
    gateway: RunningGateway, transport: Transport
) -> None:
    async with transport(gateway) as client:
        ids = await client.tokenize("Bonjour")
        turns: list[ChatMessage] = [{"role": "user", "content": "Salut"}]
        answer = await client.generate("Bonjour", ids, turns, n=2, max_tokens=3, seed=1)

    places = [(choice.prompt_index, choice.index) for choice in answer.choices]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert answer.choices[0].text == answer.choices[2].text
    with pytest.raises(ValueError, match="unpack"):
        _ = answer.text


async def test_a_stream_is_the_answer_in_pieces(
    gateway: RunningGateway, transport: Transport
) -> None:
    async with transport(gateway) as client:
        whole = await client.generate("Bonjour", max_tokens=40, seed=5, logprobs=1)
        pieces = [
            piece async for piece in client.stream("Bonjour", max_tokens=40, seed=5, logprobs=1)
        ]

    assert "".join(piece.text for piece in pieces) == whole.text
    assert tuple(i for piece in pieces for i in piece.token_ids) == whole.choices[0].token_ids
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["length"]
    assert (pieces[-1].prompt_tokens, pieces[-1].completion_tokens) == (8, 40)
    assert len(pieces) > 3


async def test_a_client_that_stops_reading_frees_its_slot(
    gateway: RunningGateway, transport: Transport
) -> None:
    async with transport(gateway) as client:
        stream = client.stream("Bonjour", max_tokens=1500)
        async with contextlib.aclosing(stream):  # type: ignore[type-var]
            async for _ in stream:
                break

        await gateway.idle()


async def test_what_is_wrong_is_told_with_its_field(
    gateway: RunningGateway, transport: Transport
) -> None:
    async with transport(gateway) as client:
        with pytest.raises(InvalidRequest) as wrong:
            await client.generate("Bonjour", temperature=3.0)
        assert (wrong.value.status, wrong.value.param) == (400, "temperature")
        assert wrong.value.code == "invalid_value"
        assert wrong.value.request_id
        assert "param temperature" in str(wrong.value)

        with pytest.raises(NotFound) as unknown:
            await client.generate("Bonjour", model="nobody")
        assert unknown.value.code == "model_not_found"
        assert unknown.value.retry_after is None

        assert await client.models() == ["avikam1-fake"]


async def test_values_that_no_message_holds_never_leave(gateway: RunningGateway) -> None:
    async with rest(gateway) as client:
        with pytest.raises(ValueError, match="out of range"):
            await client.generate("Bonjour", max_tokens=-1)
        with pytest.raises(ValueError, match="role 'robot'"):
            await client.generate([ChatMessage(role="robot", content="Salut")])
        with pytest.raises(ValueError, match="Protocol message SamplingParams has no"):
            await client.generate("Bonjour", max_token=1)  # type: ignore[call-arg]


async def test_a_key_is_sent_and_its_absence_told(transport: Transport, tmp_path: Any) -> None:
    secret = new_secret("client")
    key = Key(id="client", sha256=digest(secret), tenant="acme", scopes=("infer",))
    write_keys(tmp_path / "keys.yaml", [key])
    async with serving(grpc_port=0, keys=tmp_path / "keys.yaml") as guarded:
        async with transport(guarded, api_key=secret) as client:
            assert (await client.generate("Bonjour", max_tokens=2)).text
        async with transport(guarded) as client:
            with pytest.raises(AuthenticationError) as refused:
                await client.generate("Bonjour", max_tokens=2)

    assert refused.value.status == 401


async def test_nobody_there_is_said_after_the_last_try(transport: Transport) -> None:
    class Nowhere:
        class server:  # noqa: N801
            url = f"http://{LOOPBACK}:{free_port()}"
            grpc_port = free_port()

    async with transport(Nowhere, retries=Retries(2, pause=0.01)) as client:
        with pytest.raises(ConnectionFailed):
            await client.generate("Bonjour")
        with pytest.raises(ConnectionFailed):
            async for _ in client.stream("Bonjour"):
                pass


async def test_patience_has_an_end(transport: Transport) -> None:
    async with (
        serving(plan="ttft=30s", grpc_port=0) as slow,
        transport(slow, timeout=0.3) as client,
    ):
        with pytest.raises(DeadlineExceeded):
            await client.generate("Bonjour", max_tokens=2)


async def test_a_gateway_that_comes_late_is_waited_for(transport: Transport) -> None:
    """No worker is ready within the gateway's own patience; the client comes back."""
    port = free_port()
    settings = {"first_worker_seconds": 0.05, "grpc_port": 0}
    async with gateway_at(f"{LOOPBACK}:{port}", **settings) as gateway:
        async with transport(gateway, retries=ONCE) as client:
            with pytest.raises(Unavailable) as refused:
                await client.generate("Bonjour", max_tokens=2)
            assert refused.value.code == "no_worker_ready"
            assert refused.value.retry_after is not None

        async with transport(gateway, retries=Retries(6)) as client:
            early = asyncio.create_task(client.generate("Bonjour", max_tokens=2, seed=1))
            streamed = asyncio.create_task(_joined(client))
            await asyncio.sleep(0.2)
            async with running_worker(port=port):
                answer: Answer = await early
                assert answer.text
                assert await streamed


async def _joined(client: AnyAsync) -> str:
    return "".join([piece.text async for piece in client.stream("Bonjour", max_tokens=2, seed=1)])


async def test_a_stream_that_began_is_never_asked_for_again(transport: Transport) -> None:
    async with (
        serving(plan="ttft=1ms,tpot=2ms,drop@9", resumes=0, grpc_port=0) as failing,
        transport(failing) as client,
    ):
        pieces: list[Piece] = []
        with pytest.raises((StreamInterrupted, Unavailable)) as broken:
            await _read_into(pieces, client)

        assert broken.value.code == "stream_interrupted"
        assert len([i for piece in pieces for i in piece.token_ids]) == 9
        assert failing.metric("midstream_resumes_total", outcome="failed") == 1


async def _read_into(pieces: list[Piece], client: AnyAsync) -> None:
    """Also what came before an error is worth having."""
    async for piece in client.stream("Bonjour", max_tokens=40, seed=5):
        pieces.append(piece)  # noqa: PERF401


# The blocking clients, in a thread


async def test_blocking_clients_do_the_same(gateway: RunningGateway) -> None:
    def everything() -> list[str]:
        answers = []
        clients: list[Client | GrpcClient] = [
            Client(gateway.server.url),
            GrpcClient(f"{LOOPBACK}:{gateway.server.grpc_port}"),
        ]
        for client in clients:
            with client:
                answers.append(client.generate("Bonjour", max_tokens=30, seed=2).text)
                pieces = client.stream("Bonjour", max_tokens=30, seed=2)
                answers.append("".join(piece.text for piece in pieces))
                assert client.models() == ["avikam1-fake"]
                assert len(client.tokenize("Bonjour")) == 8
                with pytest.raises(InvalidRequest):
                    list(client.stream("Bonjour", top_p=1.5))
        return answers

    answers = await asyncio.to_thread(everything)

    assert set(answers) == {await gateway.text(prompt="Bonjour", max_tokens=30, seed=2)}


async def test_blocking_clients_try_again_too() -> None:
    def nobody_there() -> None:
        few = Retries(1, pause=0.01)
        with Client(f"http://{LOOPBACK}:{free_port()}", retries=few) as client:
            with pytest.raises(ConnectionFailed):
                client.generate("Bonjour")
            with pytest.raises(ConnectionFailed):
                next(client.stream("Bonjour"))
        with (
            GrpcClient(f"{LOOPBACK}:{free_port()}", retries=few) as rpc_client,
            pytest.raises(ConnectionFailed),
        ):
            next(rpc_client.stream("Bonjour"))

    await asyncio.to_thread(nobody_there)


async def test_the_client_needs_neither_torch_nor_the_gateway() -> None:
    code = (
        "import sys; import avikam.client; "
        "heavy = ('torch', 'numpy', 'fastapi', 'avikam.gateway', 'avikam.engine', 'avikam.cli'); "
        "sys.exit(any(name in sys.modules for name in heavy))"
    )

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stderr=subprocess.PIPE
    )

    assert (await process.communicate())[1] == b""
    assert process.returncode == 0
