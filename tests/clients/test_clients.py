"""Clients that others wrote, unchanged, against a running gateway.

Light ones run with all tests; the heavy ones, each in an environment of its own that is built from
pins at the first run, in CI and with CLIENTS=all (`make clients-test`).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from huggingface_hub import AsyncInferenceClient

from tests.clients.environments import CLIENTS, node_with, python_with
from tests.gateway.harness import RunningGateway, serving
from tests.tools import require_tool

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "avikam1-fake"
# The cheapest to build of those with an environment of their own.
LIGHT = ("llm",)
HEAVY = ("langchain", "litellm", "llama_index", "text_generation")
ALL = os.environ.get("CLIENTS") == "all" or os.environ.get("CI") == "true"
_SECONDS = 300

heavy = pytest.mark.skipif(not ALL, reason="heavy: make clients-test runs it")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with serving(grpc_port=0) as started:
        yield started


async def run(command: list[str], folder: Path | None = None) -> str:
    """What a program prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(_SECONDS):
        output, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()[-3000:]
    return output.decode()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*LIGHT, *(pytest.param(name, marks=heavy) for name in HEAVY)])
async def test_a_python_client_works(gateway: RunningGateway, name: str) -> None:
    python = await asyncio.to_thread(python_with, name)

    await run([*python, str(CLIENTS / name / "ask.py"), gateway.server.url, MODEL])


@heavy
@pytest.mark.timeout(900)
async def test_the_vercel_ai_sdk_works(gateway: RunningGateway) -> None:
    node, folder = await asyncio.to_thread(node_with, "ai_sdk")
    shutil.copy(CLIENTS / "ai_sdk" / "ask.js", folder)

    await run([*node, "ask.js", gateway.server.url, MODEL], folder)


async def test_buf_curl_finds_the_service_by_reflection(gateway: RunningGateway) -> None:
    service = f"http://127.0.0.1:{gateway.server.grpc_port}/avikam.v1.InferenceService"
    request = {"prompts": [{"text": "Bonjour"}], "sampling": {"maxTokens": 5}}
    buf = [require_tool("buf"), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]

    whole = json.loads(await run([*buf, "--data", json.dumps(request), f"{service}/Generate"]))
    stream = await run([*buf, "--data", json.dumps(request), f"{service}/GenerateStream"])

    assert whole["usage"]["completionTokens"] == 5
    assert '"finishReason":' in stream


async def test_huggingface_hub_speaks_to_both_of_its_apis(gateway: RunningGateway) -> None:
    client = AsyncInferenceClient(model=gateway.server.url)
    text = await client.text_generation("Bonjour", max_new_tokens=9, details=True)
    pieces = [p async for p in await client.text_generation("Salut", max_new_tokens=9, stream=True)]
    openai = AsyncInferenceClient(base_url=f"{gateway.server.url}/v1")
    chat = await openai.chat_completion(
        [{"role": "user", "content": "Bonjour"}], model=MODEL, max_tokens=9
    )

    assert text.details is not None
    assert text.details.generated_tokens == 9
    assert len(pieces) == 9
    assert chat.usage.completion_tokens == 9
