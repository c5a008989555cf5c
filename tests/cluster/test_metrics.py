"""Boards and rules speak of series that exist: the ones the services' own registries export."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from avikam.engine.interface import EngineModel, EngineStats
from avikam.gateway.metrics import GatewayMetrics
from avikam.protocol.sampling import SamplingParams
from avikam.worker.metrics import WorkerMetrics
from tests.cluster.helm import ROOT
from tests.cluster.promql import DASHBOARDS, metrics, panels, rules, write_as_rules
from tests.tools import require_tool

# Series of kube-state-metrics and cert-manager, which the cluster brings.
KUBE_STATE = {
    "certmanager_certificate_expiration_timestamp_seconds",
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_pod_container_status_restarts_total",
}
# Exported for others: gateways that speak vLLM's names, and humans who look at one worker.
FOR_OTHERS = {
    "avikam_worker_model_info",
    "avikam_worker_slots_used",
    "avikam_worker_tokens_per_second",
}


def exported() -> set[str]:
    """Every series that a gateway and a worker export, histograms by their base name."""
    return names(GatewayMetrics().registry) | names(worker_metrics().registry)


def worker_metrics() -> WorkerMetrics:
    worker = WorkerMetrics()
    model = EngineModel(
        id="avikam1-nano",
        max_model_len=2048,
        vocab_size=8192,
        parameters=1,
        weights="int8",
        digest="0",
        attention_backend="cpu",
        device="cpu",
        created=0,
        default_sampling=SamplingParams(),
    )
    stats = EngineStats(
        slots_total=8,
        slots_used=0,
        waiting=0,
        load_tokens=0,
        step=0,
        stalled_seconds=0,
        tokens_per_second=0,
        queue_limit=8,
    )
    worker.watch_worker(lambda: "ready", lambda: 0)
    worker.watch_engine(model, lambda: stats)
    return worker


def names(registry: CollectorRegistry) -> set[str]:
    found = set()
    for family in registry.collect():
        counter = family.type == "counter" and not family.name.endswith("_total")
        suffix = "_total" if counter else "_info" if family.type == "info" else ""
        found.add(family.name + suffix)
    return found


def base(name: str) -> str:
    """A histogram's own name."""
    for suffix in ("_bucket", "_count", "_sum"):
        if name.endswith(suffix) and name.removesuffix(suffix) in exported():
            return name.removesuffix(suffix)
    return name


RECORDED = {rule["record"] for rule in rules() if "record" in rule}
KNOWN = exported() | RECORDED | KUBE_STATE
EXPRESSIONS = {
    **{rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()},
    **{f"{title} {i}": text for i, (title, text) in enumerate(panels())},
}


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_an_expression_names_only_series_that_exist(where: str) -> None:
    used = {base(name) for name in metrics(EXPRESSIONS[where])}
    assert used
    assert used - KNOWN == set()


def test_panels_are_promql(tmp_path: Path) -> None:
    file = write_as_rules([text for _, text in panels()], tmp_path / "panels.yaml")
    command = [require_tool("promtool"), "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_exported_series_is_looked_at() -> None:
    used = {base(name) for text in EXPRESSIONS.values() for name in metrics(text)}
    ours = {name for name in exported() if name.startswith("avikam_")}
    assert ours - used == FOR_OTHERS


def test_prometheus_accepts_what_the_services_export() -> None:
    for registry in (GatewayMetrics().registry, worker_metrics().registry):
        done = subprocess.run(
            [require_tool("promtool"), "check", "metrics"],
            input=generate_latest(registry),
            capture_output=True,
            check=False,
        )
        complaints = [line for line in done.stderr.decode().splitlines() if "vllm:" not in line]
        assert complaints == []


def test_an_objective_is_a_boundary() -> None:
    """A share below a bound is a ratio of two counters only if the bound is a bucket's."""
    text = generate_latest(GatewayMetrics().registry).decode()
    assert 'avikam_gateway_time_to_first_token_seconds_bucket{le="0.1"}' in text


def test_dashboards_explain_every_panel() -> None:
    assert len(DASHBOARDS) == 2
    for file in DASHBOARDS:
        board = json.loads(file.read_text())
        assert board["editable"] is False
        assert {v["name"] for v in board["templating"]["list"]} >= {"datasource", "namespace"}
        for panel in board["panels"]:
            assert panel["title"]
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["datasource"]["uid"] == "${datasource}"


def test_dashboards_have_not_drifted() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate_dashboards.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
