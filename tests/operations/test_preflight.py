"""The checklist before production: what passes it, and what each omission is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from avikam.operations.findings import Finding, Verdict
from avikam.operations.preflight import judge_manifests
from avikam.worker.settings import embedded_model
from tests.cli.cluster_process import ServeProcess
from tests.cli.processes import run_avikam
from tests.cluster.helm import CHART, OPERATOR, render

PRODUCTION = CHART / "examples" / "production.yaml"


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {f"{f.name}: {f.detail}": f.verdict.value for f in findings}


def broken(values: dict[str, Any]) -> list[str]:
    findings = judge_manifests(render(PRODUCTION, values=values, apis=OPERATOR))
    return [f.name for f in findings if f.verdict is Verdict.BROKEN]


def test_the_production_example_passes() -> None:
    assert broken({}) == []


def test_the_default_install_is_for_trying_out() -> None:
    found = verdicts(list(judge_manifests(render())))
    assert found["fallback: avikam-worker-main: 1 pod at least"] == "broken"
    assert found["security: keys: the chart makes one key for everybody"] == "warned"
    assert found["load: no pool of workers scales with demand"] == "warned"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"gateway": {"autoscaling": {"minReplicas": 1}}}, "fallback: avikam-gateway"),
        ({"gateway": {"pdb": {"enabled": False}}}, "fallback: avikam-gateway"),
        ({"networkPolicy": {"enabled": False}}, "security: network"),
        ({"worker": {"autoscaling": {"minReplicas": 1}}}, "fallback: avikam-worker-main"),
        ({"ingress": {"enabled": True, "hosts": ["a.b"], "tlsSecret": ""}}, "security: TLS"),
    ],
)
def test_an_omission_is_broken(values: dict[str, Any], name: str) -> None:
    assert broken(values) == [name]


def test_a_container_that_may_write_its_image_is_broken() -> None:
    resources = render(PRODUCTION)
    (gateway,) = (r for r in resources if r["kind"] == "Deployment" and "gateway" in str(r))
    gateway = json.loads(json.dumps(gateway))
    del gateway["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    found = [f for f in judge_manifests([gateway]) if f.name == "security: avikam-gateway"]
    assert [f.verdict for f in found] == [Verdict.BROKEN]


def test_helms_output_is_read_from_a_file(tmp_path: Path) -> None:
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(yaml.safe_dump_all(render(PRODUCTION, apis=OPERATOR)))
    archive = tmp_path / "backup.tar"
    model = ("--model", str(embedded_model()))
    assert run_avikam("backup", str(archive), *model).returncode == 0
    done = run_avikam("preflight", "--manifests", str(rendered), "--backup", str(archive), *model)
    assert done.returncode == 0, done.stdout
    assert "Ready for production." in done.stdout
    done = run_avikam("preflight", "--manifests", str(rendered))
    assert done.returncode == 1
    assert "none was named" in done.stdout
    rendered.write_text("kind: [")
    assert "cannot read" in run_avikam("preflight", "--manifests", str(rendered)).stderr


def test_a_running_cluster_is_asked_as_a_stranger_would(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    key = run_avikam("keys", "add", "me", "--file", str(keys)).stdout.strip()
    arguments = ("--engine", "fake", "--plan", "ttft=5ms", "--workers", "2", "--keys", str(keys))
    with ServeProcess(tmp_path, *arguments) as serve:
        serve.wait_ready()
        asked = ("preflight", "--url", serve.url, "--first-token-ms=60000", "--json")
        done = run_avikam(*asked, environ={"AVIKAM_API_KEY": key})
        found = {f["name"]: f for f in json.loads(done.stdout)["findings"]}
        assert found["load"]["verdict"] == "good", done.stdout
        assert found["load"]["detail"].startswith("40 of 40 answered")
        others = {f["verdict"] for n, f in found.items() if n.startswith(("security", "fallback"))}
        assert others == {"good"}, done.stdout
        # Only the backup is missing.
        assert [n for n, f in found.items() if f["verdict"] == "broken"] == ["weight backup"]


def test_a_cluster_without_keys_is_not_ready(cluster: ServeProcess) -> None:
    done = run_avikam("preflight", "--url", cluster.url, "--requests=4")
    assert done.returncode == 1
    assert "a request without a key was answered with 200" in done.stdout
    assert "Not ready for production." in done.stdout


def test_nobody_there_is_a_finding() -> None:
    done = run_avikam("preflight", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "does not answer" in done.stdout
