"""Render the chart as a user would, with the real helm."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.tools import require_tool

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "avikam"
PROFILES = ("cpu", "a10g", "a10g-single", "a100", "a100-single", "h100")
EXAMPLES = tuple(sorted((CHART / "examples").glob("*.yaml")))
# The oldest that the chart installs on, one in between, the newest that the schemas know.
KUBERNETES = ("1.30.0", "1.34.0", "1.37.0")
# What a cluster with the Prometheus operator reports.
OPERATOR = ("monitoring.coreos.com/v1",)

Resource = dict[str, Any]


class RefusedError(Exception):
    """Helm would not render; holds its message."""


def render(
    *files: Path,
    values: Mapping[str, Any] | None = None,
    kubernetes: str = KUBERNETES[1],
    apis: Iterable[str] = (),
) -> list[Resource]:
    """Every resource of a release called avikam in the namespace avikam."""
    command = [require_tool("helm"), "template", "avikam", str(CHART), "--namespace", "avikam"]
    command += ["--kube-version", kubernetes, *(f"--api-versions={api}" for api in apis)]
    command += [part for file in files for part in ("--values", str(file))]
    text = _run((*command, "--values", "-"), yaml.safe_dump(dict(values or {})))
    return [resource for resource in yaml.load_all(text, yaml.CSafeLoader) if resource]


@cache
def _run(command: tuple[str, ...], values: str) -> str:
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(done.stderr)
    return done.stdout


def of_kind(resources: Iterable[Resource], *kinds: str) -> list[Resource]:
    """The resources of these kinds."""
    return [resource for resource in resources if resource["kind"] in kinds]


def named(resources: Iterable[Resource], kind: str, name: str) -> Resource:
    """The one resource of this kind and name."""
    (found,) = (r for r in of_kind(resources, kind) if r["metadata"]["name"] == name)
    return found


def pod_specs(resources: Iterable[Resource]) -> dict[str, Resource]:
    """Every pod spec, by `kind/name` of what holds it."""
    specs = {}
    for resource in resources:
        spec = resource.get("spec", {})
        pod = spec if resource["kind"] == "Pod" else spec.get("template", {}).get("spec")
        if pod is not None:
            specs[f"{resource['kind']}/{resource['metadata']['name']}"] = pod
    return specs
