"""What the chart mounts is what the services read: the real classes load the rendered file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from avikam.common.settings import load
from avikam.gateway.access.key_file import read_keys
from avikam.gateway.access.keys import KeyRing
from avikam.gateway.settings import GatewaySettings
from avikam.worker.settings import WorkerSettings
from tests.cluster.helm import (
    EXAMPLES,
    PROFILES,
    ROOT,
    Resource,
    named,
    pod_specs,
    render,
)


def file_of(resources: list[Resource], name: str, folder: Path) -> Path:
    """A config map's avikam.yaml, written as the kubelet would mount it."""
    path = folder / f"{name}.yaml"
    path.write_text(named(resources, "ConfigMap", name)["data"]["avikam.yaml"])
    return path


@pytest.mark.parametrize("profile", PROFILES)
def test_the_services_accept_a_profile(profile: str, tmp_path: Path) -> None:
    resources = render(values={"profile": profile})
    gateway = load(GatewaySettings, "gateway", file_of(resources, "avikam-gateway", tmp_path))
    worker = load(WorkerSettings, "worker", file_of(resources, "avikam-worker-main", tmp_path))
    assert gateway.workers == (f"dns:avikam-worker-main.avikam.svc:{worker.port}",)
    assert gateway.keys == Path("/etc/avikam-keys/keys.yaml")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_services_accept_an_example(example: Path, tmp_path: Path) -> None:
    resources = render(example)
    load(GatewaySettings, "gateway", file_of(resources, "avikam-gateway", tmp_path))
    for resource in resources:
        name = resource["metadata"]["name"]
        if resource["kind"] == "ConfigMap" and name.startswith("avikam-worker"):
            load(WorkerSettings, "worker", file_of(resources, name, tmp_path))


def test_gateways_and_workers_are_traced_alike(tmp_path: Path) -> None:
    endpoint = "https://otel-collector.monitoring:4318"
    resources = render(values={"tracing": {"endpoint": endpoint, "sampleRatio": 0.25}})
    gateway = load(GatewaySettings, "gateway", file_of(resources, "avikam-gateway", tmp_path))
    worker = load(WorkerSettings, "worker", file_of(resources, "avikam-worker-main", tmp_path))
    for settings in (gateway, worker):
        assert settings.tracing_endpoint == endpoint
        assert settings.tracing_sample_ratio == 0.25


def test_the_gateway_accepts_the_key_that_the_chart_makes(tmp_path: Path) -> None:
    secret = named(render(), "Secret", "avikam-gateway-keys")["stringData"]
    file = tmp_path / "keys.yaml"
    file.write_text(secret["keys.yaml"])
    keys = read_keys(file)
    assert KeyRing(keys).find(secret["api-key"].encode()) == keys[0]


def test_the_pods_live_longer_than_their_drain(tmp_path: Path) -> None:
    resources = render(values={"profile": "a100"})
    gateway = load(GatewaySettings, "gateway", file_of(resources, "avikam-gateway", tmp_path))
    worker = load(WorkerSettings, "worker", file_of(resources, "avikam-worker-main", tmp_path))
    grace = {
        n: p["terminationGracePeriodSeconds"]
        for n, p in pod_specs(resources).items()
        if n.startswith("Deployment")
    }
    assert grace["Deployment/avikam-gateway"] >= (
        gateway.drain_notice_seconds + gateway.drain_seconds + 10
    )
    assert grace["Deployment/avikam-worker-main"] >= (
        worker.drain_accept_seconds + worker.drain_seconds + 10
    )


def test_a_changed_setting_restarts_the_pods() -> None:
    def checksum(values: Resource) -> str:
        deployment = named(render(values=values), "Deployment", "avikam-worker-main")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"gateway": {"config": {"retries": 1}}})
    assert checksum({}) != checksum({"worker": {"config": {"token_budget": 1024}}})


@pytest.mark.parametrize("generator", ["generate_chart.py", "generate_manifests.py"])
def test_generated_files_have_not_drifted(generator: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / generator, "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / "services"), "PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
