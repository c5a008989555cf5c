"""A rolling restart under load: every process is replaced, and no request fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import grpc
import httpx
import pytest

from avikam.cli.plan import free_ports
from avikam.v1 import inference_pb2, inference_pb2_grpc
from tests.cli.cluster_process import ServeProcess
from tests.cli.processes import marked, wait_until

ASK = {"prompt": "a", "max_tokens": 8}
Ask = Callable[[], Coroutine[None, None, str]]


@pytest.mark.timeout(300)  # twelve processes start, one after the other, on whatever is free
async def test_no_request_fails_while_everything_is_replaced(tmp_path: Path) -> None:
    arguments = ["--engine", "fake", "--plan", "ttft=100ms,tpot=10ms"]
    arguments += ["--workers", "4", "--gateways", "2", f"--grpc-port={free_ports(1)[0]}"]
    with ServeProcess(tmp_path, *arguments) as serve:
        serve.wait_ready()
        assert "(2 gateways, 4 workers)" in serve.out
        before = serve.children("worker") | serve.children("gateway")
        assert len(before) == 6
        async with load(serve, arguments[-1].partition("=")[2]) as outcomes:
            await eventually(lambda: outcomes["generate"] > 20)
            serve.process.send_signal(signal.SIGHUP)
            await eventually(lambda: "restarted everything" in serve.err)
            after = Counter(outcomes)
            await eventually(lambda: all(outcomes[kind] > after[kind] for kind in after))
        # Whatever else were there would be an error.
        assert set(outcomes) == {"generate", "stream", "grpc"}
        replaced = serve.children("worker") | serve.children("gateway")
        assert len(replaced) == 6
        assert replaced & before == set()
        assert "starting it again" not in serve.err
        serve.interrupt()
        await eventually(lambda: serve.process.poll() == 0)
        assert marked(serve.mark) == set()


@contextlib.asynccontextmanager
async def load(serve: ServeProcess, grpc_port: str) -> AsyncIterator[Counter[str]]:
    """Clients that ask without a pause, through kept connections; counts what they get."""
    outcomes: Counter[str] = Counter()
    ending = asyncio.Event()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}")
    async with httpx.AsyncClient(base_url=serve.url, timeout=60) as client, channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        asks: list[Ask] = [lambda: generate(client)] * 3 + [lambda: stream(client)] * 3
        asks += [lambda: call(stub)] * 2
        async with asyncio.TaskGroup() as users:
            for ask in asks:
                users.create_task(repeat(ask, outcomes, ending))
            try:
                yield outcomes
            finally:
                ending.set()


async def repeat(ask: Ask, outcomes: Counter[str], ending: asyncio.Event) -> None:
    while not ending.is_set():
        try:
            outcomes[await ask()] += 1
        except (httpx.HTTPError, grpc.aio.AioRpcError) as error:
            outcomes[repr(error)] += 1


async def generate(client: httpx.AsyncClient) -> str:
    answer = await client.post("/generate", json=ASK)
    return "generate" if answer.status_code == 200 else answer.text


async def stream(client: httpx.AsyncClient) -> str:
    answer = await client.post("/generate_stream", json=ASK)
    whole = answer.status_code == 200 and answer.text.endswith("data: [DONE]\n\n")
    return "stream" if whole else answer.text


async def call(stub: inference_pb2_grpc.InferenceServiceAsyncStub) -> str:
    request = inference_pb2.GenerateRequest()
    request.prompts.add().text = "a"
    request.sampling.max_tokens = 8
    answer = await stub.Generate(request, wait_for_ready=True, timeout=60)
    return "grpc" if answer.choices[0].text else "no text"


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(280):
        while not condition():
            await asyncio.sleep(0.05)


def test_a_terminal_that_goes_away_ends_the_cluster(tmp_path: Path) -> None:
    controller, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "avikam", "serve", "--http-port", "0", "--engine", "fake"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AVIKAM_TEST_MARK": str(tmp_path)},
    ) as process:
        os.close(terminal)
        assert process.stdout is not None
        while b"Ctrl-C" not in process.stdout.readline():
            pass
        os.close(controller)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
    wait_until(lambda: marked(str(tmp_path)) == set())
