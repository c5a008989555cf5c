"""What tracing is before it is switched on, and when it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from avikam.common.span_export import traces_url
from avikam.common.tracing import recorded_trace
from tests.worker.harness import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SERVE_ONE = """
import asyncio, sys

async def gateway(**options):
    from tests.gateway.harness import serving
    async with serving(worker=dict(options), grpc_port=0, **options) as gateway:
        assert await gateway.text(prompt="Bonjour", max_tokens=3)

async def worker(**options):
    from tests.worker.harness import generate, running_worker
    async with running_worker(**options) as worker:
        assert (await generate(worker.stub, max_tokens=3)).tokens

asyncio.run({served})
print(*(name for name in sys.modules if name.startswith("opentelemetry")))
"""
ENDPOINT = 'tracing_endpoint="http://127.0.0.1:9"'


def loaded_by(served: str) -> set[str]:
    """Modules of OpenTelemetry in a fresh interpreter that has served one request."""
    code = SERVE_ONE.format(served=served)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_a_gateway_that_does_not_trace_loads_neither_sdk_nor_exporter() -> None:
    """FastAPI brings the API by itself."""
    heavy = {"opentelemetry.sdk", "opentelemetry.exporter"}
    assert loaded_by("gateway()") & heavy == set()
    assert loaded_by(f"gateway({ENDPOINT})") >= heavy


def test_a_worker_that_does_not_trace_loads_nothing_of_it() -> None:
    assert loaded_by("worker()") == set()
    assert loaded_by(f"worker({ENDPOINT})") >= {"opentelemetry.sdk", "opentelemetry.exporter"}


@pytest.mark.parametrize(
    "command", [("gateway", "--http-port=0"), ("worker", "--engine=fake", "--port=0")]
)
def test_without_the_extra_it_is_one_line(command: tuple[str, ...]) -> None:
    missing = "import sys; sys.modules['opentelemetry.exporter'] = None"
    code = f"{missing}\nfrom avikam.cli.main import main; main()"
    flags = (*command, "--metrics-port=off", "--tracing-endpoint=http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-c", code, *flags], capture_output=True, text=True, timeout=3 * PATIENCE
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"error: the {command[0]} cannot trace to http://127.0.0.1:9: OpenTelemetry is not "
        "installed; pip install 'avikam[tracing]', or set tracing_endpoint to off\n"
    )


def test_an_environment_that_opentelemetry_refuses_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "avikam", "gateway", "--http-port=0", "--tracing-endpoint=http://a"],
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        env={"OTEL_BSP_MAX_QUEUE_SIZE": "0", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: the gateway cannot trace to http://a: max_queue_size must be a positive integer.\n"
    )


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://otlp.example.com/team/v1/traces", "https://otlp.example.com/team/v1/traces"),
    ],
)
def test_a_collectors_own_path_is_added(endpoint: str, url: str) -> None:
    assert traces_url(endpoint) == url


@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-00", ""),
        (f"cc-{TRACE}-00f067aa0ba902b7-03-later", TRACE),
        ("", ""),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", ""),
    ],
)
def test_a_recorded_trace_is_told_from_others(traceparent: str, trace: str) -> None:
    assert recorded_trace(traceparent) == trace
