"""Prometheus and Alertmanager watch a cluster that serves, loses its workers and gets them back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cluster.helm import of_kind, render
from tests.cluster.live import WORKERS, LiveCluster, eventually
from tests.cluster.promql import panels

# What a loss of workers must raise, and a healthy cluster must not.
OF_WORKERS = {
    "AvikamDecodeStalled",
    "AvikamGatewayMetricsAbsent",
    "AvikamHighErrorRate",
    "AvikamModelNotLoaded",
    "AvikamNoReadyWorker",
    "AvikamWorkerMetricsAbsent",
    "AvikamWorkerNotReady",
}
# A worker whose first requests fail: they are tried elsewhere, and its breaker opens and closes.
STUMBLE = "".join(f",error@0#{ordinal}" for ordinal in range(1, 8))
# Workers refuse only what a gateway's own checks have let through by mistake.
NEVER_HERE = {"sum by (code) (rate(avikam_worker_refusals_total"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with LiveCluster(tmp_path_factory.mktemp("live")) as live:
        eventually(lambda: live.ready_workers() == WORKERS, "four ready workers")
        eventually(lambda: throughput(live) > 1, "Locust's requests")
        yield live


def throughput(cluster: LiveCluster) -> float:
    """Successful requests per second."""
    found = cluster.query('sum(rate(avikam_gateway_requests_total{status="200"}[10s]))')
    return float(found[0]["value"][1]) if found else 0.0


def refused(cluster: LiveCluster) -> bool:
    """Whether a new request finds no worker."""
    answer = httpx.post(f"{cluster.url}/generate", json={"prompt": "a", "max_tokens": 1})
    return answer.status_code == 503


@pytest.mark.timeout(300)
def test_lost_workers_raise_alerts_that_clear_when_they_are_back(cluster: LiveCluster) -> None:
    told = cluster.receiver.last
    eventually(lambda: cluster.firing() & OF_WORKERS == set(), "a quiet cluster")

    cluster.kill_workers(1)
    eventually(lambda: told("chat", "AvikamWorkerNotReady") == "firing", "the first alert")
    assert "AvikamNoReadyWorker" not in cluster.firing()

    cluster.kill_workers(WORKERS - 1)
    eventually(lambda: told("pager", "AvikamNoReadyWorker") == "firing", "the page")
    # Started answers wait for a worker to go on with; it is new requests that fail.
    eventually(
        lambda: refused(cluster) and told("pager", "AvikamHighErrorRate") == "firing",
        "failing requests",
    )
    eventually(lambda: "AvikamWorkerMetricsAbsent" in cluster.firing(), "missing metrics")

    cluster.start_workers([0], STUMBLE)
    cluster.start_workers(range(1, WORKERS))
    eventually(lambda: cluster.ready_workers() == WORKERS, "the workers' return")
    eventually(lambda: told("pager", "AvikamNoReadyWorker") == "resolved", "the page's end")
    eventually(lambda: told("pager", "AvikamHighErrorRate") == "resolved", "answers again")
    eventually(lambda: told("chat", "AvikamWorkerNotReady") == "resolved", "four workers again")
    eventually(lambda: cluster.firing() & OF_WORKERS == set(), "peace")


@pytest.mark.timeout(300)
def test_every_panel_shows_data(cluster: LiveCluster) -> None:
    # One request that is refused unread: the reasons of refusals have a panel too.
    answer = httpx.get(f"{cluster.url}/v1/models", headers={f"x-{i}": "" for i in range(200)})
    assert answer.status_code == 431
    queries = [q for q in panels() if not any(q[1].startswith(never) for never in NEVER_HERE)]
    assert len(queries) == len(panels()) - len(NEVER_HERE)
    empty: list[str] = []

    def all_have_data() -> bool:
        empty[:] = [f"{title}: {text}" for title, text in queries if not cluster.query(text)]
        return not empty

    try:
        eventually(all_have_data, "data")
    except AssertionError:
        pytest.fail("no data: " + "; ".join(empty))


@pytest.mark.timeout(120)
def test_the_charts_own_tests_pass_here_too(cluster: LiveCluster, tmp_path: Path) -> None:
    key = tmp_path / "api-key"
    key.write_text("none-is-needed-here")
    here = {"GATEWAY": cluster.url, "METRICS": cluster.metrics_url, "KEY_FILE": str(key)}
    pods = of_kind(render(), "Pod")
    assert len(pods) == 3
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        assert {variable["name"] for variable in container["env"]} == set(here)
        command = [sys.executable, *container["command"][1:], *container["args"]]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **here})
        assert done.returncode == 0, done.stderr
