"""Traces of real gateway and worker processes, as a collector gets them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from avikam.gateway.access.key_file import write_keys
from avikam.gateway.access.keys import Key, digest, new_secret
from avikam.protocol.wire import text_prompt
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2, inference_pb2_grpc
from tests.tracing.collector import Collector, SentSpan
from tests.tracing.traced_cluster import NEVER, SOON, TracedCluster, stopped, traced_cluster
from tests.worker.harness import LOOPBACK, connected, eventually, free_port

CANARY = "canary-7f3e91"
SECRET = new_secret("alice")
KEY = {"authorization": f"Bearer {SECRET}"}
PARENT = "00f067aa0ba902b7"
PACE = "ttft=5ms,tpot=1ms"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def collector() -> AsyncIterator[Collector]:
    with Collector() as listening:
        yield listening


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TracedCluster]:
    """One gateway and one worker, for all tests that only ask."""
    folder = tmp_path_factory.mktemp("traced")
    write_keys(folder / "keys.yaml", [Key(id="alice", sha256=digest(SECRET), tenant="acme")])
    options = {"keys": folder / "keys.yaml", "log_level": "info"}
    environ = {**SOON, "AVIKAM_GATEWAY__ACCESS_LOG": "true"}
    async with traced_cluster(
        folder, collector.url, PACE, gateway=options, environ=environ
    ) as running:
        yield running


in_module = pytest.mark.asyncio(loop_scope="module")


def context(sampled: bool = True) -> tuple[str, str]:
    """A client's own trace: its id and the header."""
    trace = secrets.token_hex(16)
    return trace, f"00-{trace}-{PARENT}-{int(sampled):02x}"


def only(spans: list[SentSpan], service: str, name: str | None = None) -> SentSpan:
    (found,) = [s for s in spans if s.service == service and name in (None, s.name)]
    return found


def gateways(spans: list[SentSpan]) -> tuple[SentSpan, list[SentSpan]]:
    """The request's span, and its attempts' in order."""
    own = [span for span in spans if span.service == "avikam-gateway"]
    attempts = [span for span in own if span.name == "attempt"]
    (request,) = [span for span in own if span.name != "attempt"]
    return request, sorted(attempts, key=lambda span: str(span.attributes["gen_ai.request.id"]))


async def ask_rest(cluster: TracedCluster, headers: dict[str, str]) -> str:
    reply = await cluster.post(
        "/generate", {**KEY, **headers}, prompt=CANARY, max_tokens=24, stop=[f"{CANARY}-stop"]
    )
    assert reply.status_code == 200, reply.text
    return str(reply.json()["text"])


async def ask_chat(cluster: TracedCluster, headers: dict[str, str]) -> str:
    turns = [{"role": "user", "content": CANARY}]
    body = {"model": "", "messages": turns, "max_tokens": 24, "stream": True}
    reply = await cluster.client.post("/v1/chat/completions", json=body, headers={**KEY, **headers})
    assert reply.status_code == 200, reply.text
    events = [line[6:] for line in reply.text.splitlines() if line.startswith("data: {")]
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    return "".join(delta.get("content") or "" for delta in deltas)


async def ask_grpc(cluster: TracedCluster, headers: dict[str, str]) -> str:
    request = inference_pb2.GenerateRequest(
        prompts=[text_prompt(CANARY)], sampling=pb.SamplingParams(max_tokens=24)
    )
    async with connected(cluster.grpc_address) as channel:
        stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
        reply = await stub.Generate(request, metadata=tuple({**KEY, **headers}.items()))
    return str(reply.choices[0].text)


ROUTES: dict[Any, tuple[str, dict[str, Any]]] = {
    ask_rest: ("POST /generate", {"http.route": "/generate", "http.response.status_code": 200}),
    ask_chat: ("POST /v1/chat/completions", {"gen_ai.operation.name": "chat"}),
    ask_grpc: (
        "avikam.v1.InferenceService/Generate",
        {"rpc.system.name": "grpc", "rpc.response.status_code": "OK"},
    ),
}


@in_module
@pytest.mark.parametrize("ask", ROUTES, ids=lambda ask: ask.__name__)
async def test_one_trace_holds_client_gateway_attempt_and_worker(
    ask: Any, cluster: TracedCluster, collector: Collector
) -> None:
    trace, header = context()
    text = await ask(
        cluster, {"traceparent": header, "tracestate": "shop=cart", "x-request-id": f"id-{trace}"}
    )
    spans = await collector.wait(trace, 3)
    request, (attempt,) = gateways(spans)
    sequence = only(spans, "avikam-worker")
    name, expected = ROUTES[ask]

    assert (request.parent, request.name) == (PARENT, name)
    assert attempt.parent == request.id
    assert (sequence.parent, sequence.name) == (attempt.id, "llm_request")
    assert {span.tracestate for span in spans} == {"shop=cart"}
    assert not any(span.failed for span in spans)
    assert expected.items() <= request.attributes.items()
    assert {span.attributes["gen_ai.request.id"] for span in spans} == {f"id-{trace}"}
    check_attributes(request, attempt, sequence, cluster)
    assert len(text) > 8
    for word in (CANARY, text, SECRET, "acme"):
        assert word.encode() not in collector.raw


def check_attributes(
    request: SentSpan, attempt: SentSpan, sequence: SentSpan, cluster: TracedCluster
) -> None:
    said, told, did = request.attributes, attempt.attributes, sequence.attributes
    assert said["gen_ai.usage.output_tokens"] == did["gen_ai.usage.completion_tokens"] == 24
    assert said["gen_ai.usage.input_tokens"] == did["gen_ai.usage.prompt_tokens"] > 0
    assert said["gen_ai.response.model"] == did["gen_ai.response.model"]
    assert said["gen_ai.request.max_tokens"] == did["gen_ai.request.max_tokens"] == 24
    assert said["gen_ai.response.time_to_first_chunk"] > 0
    assert len(said["avikam.tenant"]) == 16
    host, port = told["server.address"], told["server.port"]
    assert f"{host}:{port}" == cluster.workers[0].address
    assert (told["avikam.outcome"], told["avikam.attempt.kind"]) == ("length", "first")
    assert did["avikam.outcome"] == "length"
    assert sequence.events == ("first token",)
    for phase in ("time_in_queue", "time_in_model_prefill", "time_in_model_decode"):
        assert did[f"gen_ai.latency.{phase}"] >= 0
    assert 0 < did["gen_ai.latency.time_to_first_token"] <= did["gen_ai.latency.e2e"]


@in_module
async def test_sequences_that_share_a_call_keep_their_parents(
    cluster: TracedCluster, collector: Collector
) -> None:
    trace, header = context()
    reply = await cluster.post(
        "/generate", {**KEY, "traceparent": header}, prompt=["un", "deux"], n=2, max_tokens=3
    )
    assert reply.status_code == 200, reply.text
    spans = await collector.wait(trace, 9)
    request, attempts = gateways(spans)
    assert {attempt.parent for attempt in attempts} == {request.id}
    ids = {attempt.id: attempt.attributes["gen_ai.request.id"] for attempt in attempts}
    sequences = [span for span in spans if span.service == "avikam-worker"]
    assert {s.parent: s.attributes["gen_ai.request.id"] for s in sequences} == ids
    assert len(ids) == len(set(ids.values())) == 4


@in_module
async def test_a_request_without_a_trace_begins_one(
    cluster: TracedCluster, collector: Collector
) -> None:
    before = {span.trace for span in collector.spans}
    await ask_rest(cluster, {"x-request-id": "rootless", "traceparent": "00-nonsense-01"})

    def served() -> list[SentSpan]:
        roots = [span for span in collector.spans if span.name == "POST /generate"]
        return [span for span in roots if span.attributes["gen_ai.request.id"] == "rootless"]

    await eventually(lambda: bool(served()))
    (span,) = served()
    assert span.parent == ""
    assert span.trace not in before


@in_module
async def test_a_client_that_does_not_record_is_followed(
    cluster: TracedCluster, collector: Collector
) -> None:
    quiet, header = context(sampled=False)
    await ask_rest(cluster, {"traceparent": header})
    loud, header = context()
    await ask_rest(cluster, {"traceparent": header})
    await collector.wait(loud, 3)
    assert collector.trace(quiet) == []


@in_module
async def test_refusals_have_a_span_and_only_ours_are_errors(
    cluster: TracedCluster, collector: Collector
) -> None:
    trace, header = context()
    named = await cluster.post(
        "/generate", {**KEY, "traceparent": header}, prompt="x", model="nobody"
    )
    lost = await cluster.client.get(f"/{CANARY}", headers={**KEY, "traceparent": header})
    keyless = await cluster.post("/generate", {"traceparent": header}, prompt="x")
    assert [r.status_code for r in (named, lost, keyless)] == [404, 404, 401]
    spans = await collector.wait(trace, 3)
    assert [(s.name, s.failed) for s in spans] == [
        ("POST /generate", False),
        ("GET", False),
        ("POST", False),
    ]
    assert spans[0].attributes["error.type"] == "model_not_found"
    assert CANARY.encode() not in collector.raw


@in_module
async def test_log_lines_name_the_trace(cluster: TracedCluster, collector: Collector) -> None:
    trace, header = context()
    await ask_rest(cluster, {"traceparent": header})
    await ask_grpc(cluster, {"traceparent": header})
    await collector.wait(trace, 6)
    lines = [json.loads(line) for line in cluster.gateway.log.splitlines()]
    named = [line["route"] for line in lines if line.get("trace_id") == trace]
    assert named == ["/generate", "/avikam.v1.InferenceService/Generate"]


@in_module
async def test_probes_and_scrapes_are_not_traced(
    cluster: TracedCluster, collector: Collector
) -> None:
    trace, header = context()
    for path in ("/livez", "/readyz", "/metrics"):
        await cluster.client.get(path, headers={**KEY, "traceparent": header})
    await cluster.client.get("/v1/models", headers={**KEY, "traceparent": header})
    spans = await collector.wait(trace, 1)
    assert [span.name for span in spans] == ["GET /v1/models"]


@pytest.mark.parametrize(
    ("plan", "kind", "outcome"),
    [("refuse#1", "retry", "refused"), (f"{PACE},drop@9#1", "resume", "broke_off")],
    ids=["retry", "resume"],
)
async def test_every_attempt_has_a_span(plan: str, kind: str, outcome: str, tmp_path: Path) -> None:
    options: dict[str, object] = {"routing": "round_robin"}
    with Collector() as collector:
        async with traced_cluster(tmp_path, collector.url, plan, PACE, gateway=options) as cluster:
            spans = await trace_that_met_the_fault(cluster, collector)
            ports = [worker.port for worker in cluster.workers]
    number = "avikam.attempt.number"
    attempts = [span for span in spans if span.name == "attempt"]
    faulty, healthy = sorted(attempts, key=lambda span: int(span.attributes[number]))
    assert [span.attributes["server.port"] for span in (faulty, healthy)] == ports
    assert [span.attributes["avikam.attempt.kind"] for span in (faulty, healthy)] == ["first", kind]
    assert (faulty.attributes["avikam.outcome"], faulty.failed) == (outcome, True)
    assert (healthy.attributes["avikam.outcome"], healthy.failed) == ("length", False)
    assert healthy.attributes["avikam.attempt.resumed_tokens"] == (9 if kind == "resume" else 0)
    sequences = [span for span in spans if span.service == "avikam-worker"]
    assert {span.parent for span in sequences} == {faulty.id, healthy.id}


async def trace_that_met_the_fault(cluster: TracedCluster, collector: Collector) -> list[SentSpan]:
    """Two workers take turns, so the first request or the second meets it."""
    for _ in range(2):
        trace, header = context()
        reply = await cluster.post("/generate", {"traceparent": header}, prompt="x", max_tokens=20)
        assert reply.status_code == 200, reply.text
        spans = await whole(collector, trace)
        if len(spans) > 3:
            return spans
    raise AssertionError("no request met the faulty worker")


async def whole(collector: Collector, trace: str) -> list[SentSpan]:
    """A trace with its request, and the worker's span of every attempt."""

    def complete() -> bool:
        spans = collector.trace(trace)
        attempts = {span.id for span in spans if span.name == "attempt"}
        below = {span.parent for span in spans if span.service == "avikam-worker"}
        return attempts == below and any(span.name == "POST /generate" for span in spans)

    await eventually(complete)
    return collector.trace(trace)


async def test_a_drain_sends_what_waits_and_the_environment_is_heard(tmp_path: Path) -> None:
    environ = {
        **NEVER,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=blue",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=serving",
    }
    with Collector() as collector:
        async with traced_cluster(tmp_path, collector.url, PACE, environ=environ) as cluster:
            trace, header = context()
            await cluster.post("/generate", {"traceparent": header}, prompt="x", max_tokens=3)
            assert collector.spans == []
            assert await stopped(cluster.gateway) == 0
            assert len(collector.trace(trace)) == 2
            assert await stopped(cluster.workers[0]) == 0
            assert len(collector.trace(trace)) == 3
    assert collector.headers["x-team"] == "serving"
    for span in collector.spans:
        assert span.resource["deployment.environment.name"] == "blue"
        assert span.resource["service.version"]
    assert len({span.resource["service.instance.id"] for span in collector.spans}) == 2


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """A collector that takes connections and never answers."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), LOOPBACK, 0)
    async with server:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
        for writer in held:
            writer.close()


@contextlib.asynccontextmanager
async def absent() -> AsyncIterator[str]:
    """A port where nobody listens."""
    yield f"http://{LOOPBACK}:{free_port()}"


@pytest.mark.parametrize("dead", [silent, absent], ids=["silent", "absent"])
async def test_a_dead_collector_changes_nothing(dead: Any, tmp_path: Path) -> None:
    """Not even the end: it would take this collector minutes to be given up."""
    environ = {
        "OTEL_BSP_SCHEDULE_DELAY": "10",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "600",
    }
    async with dead() as endpoint, traced_cluster(tmp_path, endpoint, PACE, environ=environ) as c:
        replies = [
            await c.post("/generate", {}, prompt="x", seed=1, max_tokens=8) for _ in range(30)
        ]
        assert {reply.status_code for reply in replies} == {200}
        assert len({reply.json()["text"] for reply in replies}) == 1
        assert [await stopped(service) for service in (c.gateway, *c.workers)] == [0, 0]


async def test_a_ratio_of_nothing_records_only_what_clients_record(tmp_path: Path) -> None:
    options: dict[str, object] = {"tracing_sample_ratio": 0}
    with Collector() as collector:
        async with traced_cluster(tmp_path, collector.url, PACE, gateway=options) as cluster:
            for _ in range(5):
                await cluster.post("/generate", {}, prompt="x", max_tokens=3)
            trace, header = context()
            await cluster.post("/generate", {"traceparent": header}, prompt="x", max_tokens=3)
            await collector.wait(trace, 3)
        assert {span.trace for span in collector.spans} == {trace}


async def test_a_cut_stream_marks_the_request(tmp_path: Path) -> None:
    """Its status was 200, so only the trace tells."""
    with Collector() as collector:
        options: dict[str, object] = {"resumes": 0}
        plan = f"{PACE},drop@9"
        async with traced_cluster(tmp_path, collector.url, plan, gateway=options) as cluster:
            trace, header = context()
            reply = await cluster.post(
                "/generate_stream", {"traceparent": header}, prompt="x", max_tokens=20
            )
            assert "stream_interrupted" in reply.text
            request, _ = gateways(await collector.wait(trace, 3))
    assert request.failed
    assert request.attributes["error.type"] == "stream_interrupted"
    assert request.attributes["http.response.status_code"] == 200
