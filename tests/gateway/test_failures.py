"""Workers that die, freeze, lie or are not there: the client's bytes are those of a quiet day."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import pytest_asyncio

from avikam.gateway.api.generate import GenerateDialect
from avikam.gateway.sequence.failure import Kind
from tests.gateway.harness import RunningGateway, Stream, gateway_at, gateway_to, serving
from tests.worker.harness import LOOPBACK, eventually, free_port, running_worker, worker_process

MAX_TOKENS = 40
SEEDS = range(4)


async def ask(gateway: RunningGateway, seed: int) -> Stream:
    """A stream that must be whole."""
    stream = await gateway.stream(
        prompt="Bonjour", max_tokens=MAX_TOKENS, seed=seed, logprobs=1, details=True
    )
    assert stream.status == 200
    assert stream.error is None
    assert stream.done
    assert stream.finish_reason == "length"
    return stream


def token_ids(stream: Stream) -> list[int]:
    """Ids of all tokens, as their logprobs name them."""
    return [entry["token_id"] for event in stream.events for entry in event.get("logprobs", [])]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def unbroken() -> list[Stream]:
    """What the seeds give when nothing fails."""
    async with serving() as gateway:
        return [await ask(gateway, seed) for seed in SEEDS]


async def same_as(unbroken: list[Stream], gateway: RunningGateway) -> None:
    """Ask with every seed; whoever answers, in one go or not, the answers are the same."""
    for seed, wanted in zip(SEEDS, unbroken, strict=True):
        stream = await ask(gateway, seed)
        assert stream.text == wanted.text
        assert token_ids(stream) == token_ids(wanted)
        assert stream.events[-1]["usage"] == wanted.events[-1]["usage"]


@pytest.mark.parametrize("index", [0, 7, 33])
async def test_a_killed_worker_is_replaced_in_the_middle_of_a_word(
    unbroken: list[Stream], index: int
) -> None:
    async with (
        worker_process(plan=f"tpot=1ms,die@{index}") as mortal,
        running_worker(plan="tpot=1ms") as healthy,
        gateway_to(mortal, healthy, routing="round_robin") as gateway,
    ):
        await same_as(unbroken, gateway)

        await mortal.exit_code()
        recovered = "midstream_resumes_total" if index else "retries_total"
        assert gateway.metric(recovered, outcome="done") == 1
        assert len(gateway.server.gateway.pool.ready) == 1


@pytest.mark.parametrize(
    "plan",
    [
        "drop@0",
        "drop@9",
        "drop@33",
        "refuse",
        "garble@9",
        "repeat@9",
        "error@9",
        "error@0",
        pytest.param(
            "crash@9",
            marks=pytest.mark.filterwarnings(
                "ignore::pytest.PytestUnhandledThreadExceptionWarning"
            ),
        ),
        "slow=30ms@9,drop@20",
    ],
)
async def test_a_worker_that_fails_changes_nothing(unbroken: list[Stream], plan: str) -> None:
    async with (
        running_worker(plan=f"tpot=1ms,{plan}") as failing,
        running_worker(plan="tpot=1ms") as healthy,
        gateway_to(failing, healthy, routing="round_robin", retry_pause_seconds=0.05) as gateway,
    ):
        await same_as(unbroken, gateway)

        assert sum(_failed_attempts(gateway)) > 0


def _failed_attempts(gateway: RunningGateway) -> list[float]:
    return [gateway.metric("attempts_failed_total", kind=kind.value) for kind in Kind]


async def test_an_engine_that_hangs_is_given_up(unbroken: list[Stream]) -> None:
    async with (
        running_worker(plan="tpot=1ms,hang@9") as hanging,
        running_worker(plan="tpot=1ms") as healthy,
        gateway_to(hanging, healthy, routing="round_robin", heartbeat_seconds=2.0) as gateway,
    ):
        await same_as(unbroken, gateway)

        members = gateway.server.gateway.pool
        states = {member.address: member.breaker.state.value for member in members}
        assert states == {hanging.address: "open", healthy.address: "closed"}


async def test_numbers_that_are_none_are_the_requests_fault_and_no_breakers() -> None:
    async with serving(plan="tpot=100us,nan@3~strange", worker={"slots": 64}) as gateway:
        for _ in range(60):
            reply = await gateway.post("/generate", prompt="a strange one", max_tokens=9)
            assert reply.status_code == 500
            assert reply.json()["error"]["code"] == "sequence_failed"
            assert "the logits are not numbers" in reply.json()["error"]["message"]

        assert await gateway.text(prompt="an ordinary one", max_tokens=9)
        (member,) = gateway.server.gateway.pool
        assert member.breaker.state.value == "closed"


async def test_whole_replies_survive_as_well() -> None:
    async with (
        running_worker(plan="tpot=1ms,drop@9") as failing,
        running_worker(plan="tpot=1ms") as healthy,
        gateway_to(failing, healthy, routing="round_robin") as gateway,
        serving() as quiet,
    ):
        for path in ("/generate", "/v1/completions"):
            body = {"prompt": ["a", "b"], "n": 2, "max_tokens": 30, "seed": 1, "logprobs": 2}
            wanted = (await quiet.post(path, **body)).json()["choices"]

            assert (await gateway.post(path, **body)).json()["choices"] == wanted


async def test_stop_strings_survive_a_resume() -> None:
    async with serving() as quiet:
        whole = await quiet.text(prompt="a", max_tokens=60, seed=3)
    at = len(whole) // 2
    stop = whole[at : at + 6]
    for index in range(5, 40, 12):
        async with (
            running_worker(plan=f"tpot=200us,drop@{index}") as failing,
            running_worker() as healthy,
            gateway_to(failing, healthy, routing="round_robin") as gateway,
        ):
            for _ in range(2):
                stream = await gateway.stream(prompt="a", max_tokens=60, seed=3, stop=stop)
                assert stream.text == whole[: whole.index(stop)]
                assert stream.finish_reason == "stop"


async def test_a_stream_that_nobody_can_continue_ends_with_an_error() -> None:
    async with serving(plan="tpot=1ms,drop@9", resumes=0) as gateway:
        stream = await gateway.stream(prompt="Bonjour", max_tokens=MAX_TOKENS)

        assert stream.status == 200
        assert not stream.done
        assert stream.finish_reason is None
        assert stream.error is not None
        assert stream.error["code"] == "stream_interrupted"


async def test_a_mistake_of_ours_in_mid_stream_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(*_: object) -> bytes:
        raise RuntimeError("Bonjour")

    monkeypatch.setattr(GenerateDialect, "closing", mistaken)
    async with serving(plan="tpot=1ms") as gateway:
        stream = await gateway.stream(prompt="Bonjour", max_tokens=MAX_TOKENS)

        assert not stream.done
        assert stream.error is not None
        assert stream.error["code"] == "internal_error"
        assert "Bonjour" not in stream.error["message"]
        await gateway.idle()


async def test_a_request_that_everybody_fails_is_502() -> None:
    async with serving(plan="error@0", retry_pause_seconds=0.01) as gateway:
        for body in ({}, {"stream": True}):
            reply = await gateway.post("/generate", prompt="Bonjour", **body)

            assert reply.status_code == 502
            assert reply.json()["error"]["code"] == "upstream_unavailable"
            assert reply.json()["error"]["type"] == "server_error"


async def test_streams_that_fail_by_three_in_ten_open_the_pool_breaker() -> None:
    """What succeeds counts once, or three failures of ten would be three of seventeen."""
    async with serving(plan="error@0%30", retries=0) as gateway:
        statuses: list[int] = []
        while 503 not in statuses and len(statuses) < 1000:
            asked = [gateway.stream(prompt=f"p{n}", max_tokens=3) for n in range(25)]
            statuses += [stream.status for stream in await asyncio.gather(*asked)]

        assert 503 in statuses
        assert statuses.index(503) >= 50
        assert gateway.metric("breaker_transitions_total", breaker="pool", to="open") == 1


async def test_a_worker_that_is_not_there_at_the_start_does_not_matter() -> None:
    async with running_worker() as worker:
        absent = f"{LOOPBACK}:{free_port()}"
        async with gateway_at(absent, worker.address) as gateway:
            await gateway.ready()

            texts = [await gateway.text(prompt=f"p{n}", max_tokens=5, seed=1) for n in range(20)]

            assert len(set(texts)) == 1
            assert sum(_failed_attempts(gateway)) == 0


async def test_readiness_follows_the_workers_and_requests_wait_for_the_first() -> None:
    port = free_port()
    async with gateway_at(f"{LOOPBACK}:{port}") as gateway:
        unready = await gateway.get("/readyz")
        assert unready.status_code == 503
        assert unready.json()["workers"] == [{"state": "unreachable"}]
        early = asyncio.create_task(gateway.text(prompt="Bonjour", max_tokens=3))
        await asyncio.sleep(0.1)

        async with running_worker(port=port):
            assert await early
            assert (await gateway.get("/readyz")).status_code == 200

        await eventually(lambda: not gateway.server.gateway.pool.ready)
        assert (await gateway.get("/readyz")).status_code == 503
        assert (await gateway.get("/livez")).status_code == 200


# The gateway's own end


async def test_a_draining_gateway_is_unready_and_finishes_its_streams() -> None:
    async with serving(plan="tpot=10ms", drain_notice_seconds=0.3) as gateway:
        running = asyncio.create_task(ask(gateway, 0))
        await eventually(lambda: gateway.metric("generated_tokens_total") > 0)

        draining = asyncio.create_task(gateway.server.drain())
        await eventually(lambda: gateway.server.gateway.drain.started)
        readiness = await gateway.get("/readyz")
        late = await gateway.text(prompt="Bonjour", max_tokens=2)

        assert readiness.status_code == 503
        assert readiness.json()["status"] == "draining"
        assert late
        assert token_ids(await running)
        await asyncio.wait_for(draining, 10)
        with pytest.raises(ConnectionRefusedError):
            await gateway.connect()


async def test_a_stopped_gateway_cuts_what_runs_and_frees_the_worker() -> None:
    async with running_worker(plan="tpot=50ms") as worker, contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_to(worker))
        reader, writer = await gateway.connect()
        body = b'{"prompt":"a","max_tokens":1000,"stream":true}'
        writer.write(
            b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        await reader.readuntil(b"\r\n\r\n")

        await gateway.server.stop()

        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                # Cut, or ended by an error event; never as if it were whole.
                assert b"[DONE]" not in await reader.read()
        await eventually(lambda: not worker.engine.stats().slots_used)
        writer.close()
