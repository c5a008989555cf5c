"""Helm's own checks, the chart's unit tests, and the plain manifests that are rendered from it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.helm import CHART, EXAMPLES, PROFILES, ROOT, Resource, render
from tests.tools import require_tool

MANIFESTS = ROOT / "deploy" / "k8s"


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kustomized(overlay: Path) -> str:
    return run(require_tool("kustomize"), "build", overlay)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_lint_is_strict_about_every_example(example: Path) -> None:
    run(require_tool("helm"), "lint", "--strict", CHART, "--values", example)


def test_unit_tests_of_the_chart_pass() -> None:
    run(require_tool("helm-unittest"), "--strict", CHART)


def test_a_package_installs_like_the_folder(tmp_path: Path) -> None:
    run(require_tool("helm"), "package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("avikam-*.tgz")
    secrets = "auth.existingSecret=keys,workerToken.existingSecret=token"
    options = ("--set", secrets, "--kube-version", "1.34.0")
    rendered = [
        run(require_tool("helm"), "template", "a", source, *options) for source in (package, CHART)
    ]
    assert rendered[0] == rendered[1]


@pytest.mark.parametrize("profile", PROFILES)
def test_plain_manifests_are_the_charts(profile: str) -> None:
    built = yaml.safe_load_all(
        run(require_tool("kustomize"), "build", MANIFESTS / "overlays" / profile)
    )
    values = {
        "profile": profile,
        "auth": {"existingSecret": "avikam-keys"},
        "workerToken": {"existingSecret": "avikam-worker-token"},
        "mtls": {"mode": "none"},
        "monitoring": {"dashboards": False},
    }
    plain = [without_namespace(r) for r in built if r["kind"] != "Namespace"]
    chart = [without_helm(r) for r in render(values=values) if not is_test(r)]
    assert sorted(plain, key=identity) == sorted(chart, key=identity)


def is_test(resource: Resource) -> bool:
    return bool(resource["metadata"]["labels"]["app.kubernetes.io/component"] == "test")


def identity(resource: Resource) -> tuple[str, str]:
    return resource["kind"], resource["metadata"]["name"]


def without_namespace(resource: Resource) -> Resource:
    assert resource["metadata"].pop("namespace") == "avikam"
    return resource


def without_helm(resource: Any) -> Any:
    """Without the labels that only Helm sets."""
    if isinstance(resource, list):
        return [without_helm(part) for part in resource]
    if not isinstance(resource, dict):
        return resource
    own = ("app.kubernetes.io/managed-by", "helm.sh/chart")
    return {key: without_helm(part) for key, part in resource.items() if key not in own}


def test_monitoring_is_a_component_of_the_manifests(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    here = Path(os.path.relpath(MANIFESTS, overlay))
    (overlay / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": [str(here / "overlays" / "cpu")],
                "components": [str(here / "components" / "monitoring")],
            }
        )
    )
    kinds = {
        r["kind"] for r in yaml.safe_load_all(run(require_tool("kustomize"), "build", overlay))
    }
    assert {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"} <= kinds
