"""Schemas of Kubernetes' own resources and of the custom ones that the chart makes.

Both come inside packages: kubernetes-validate carries Kubernetes' schemas, and four Go modules
carry the custom resource definitions of the projects that define them.
"""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing import Resource as Schema

from tests.cluster.helm import Resource
from tests.tools import require_tool

# Module, the sum that Go computes over its content, and the folder of its definitions.
_MODULES = {
    "monitoring.coreos.com": (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        "example/prometheus-operator-crd",
    ),
    "keda.sh": (
        "github.com/kedacore/keda/v2@v2.21.0",
        "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        "config/crd/bases",
    ),
    "cert-manager.io": (
        "github.com/cert-manager/cert-manager@v1.19.1",
        "h1:Txh8L/nLWTDcb7ZnXuXbTe15BxQnLbLirXmbNk0fGgY=",
        "deploy/crds",
    ),
    "gateway.networking.k8s.io": (
        "sigs.k8s.io/gateway-api@v1.6.3",
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        "config/crd/standard",
    ),
}


class _Loader(yaml.CSafeLoader):
    """Reads a bare ``=`` as YAML 1.2 does: an enum of matchers holds one."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - how PyYAML is told
        first: resolvers
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
        if first != "="
    }


def check(resource: Resource, kubernetes: str) -> None:
    """Raise when the API server of that version would refuse the resource's shape."""
    group, _, version = resource["apiVersion"].rpartition("/")
    kind = resource["kind"]
    validator = custom(group, version, kind) if group in _MODULES else None
    (validator or built_in(kubernetes, group, version, kind)).validate(resource)


@cache
def built_in(kubernetes: str, group: str, version: str, kind: str) -> Draft202012Validator:
    """Validator of one of Kubernetes' own kinds, closed to unknown names."""
    prefix = f"{group.partition('.')[0]}-" if group else ""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{kubernetes}-local-strict"
    schema = json.loads((folder / f"{kind.lower()}-{prefix}{version}.json").read_text())
    return Draft202012Validator(schema, registry=_definitions_of(kubernetes))


@cache
def _definitions_of(kubernetes: str) -> Registry[Any]:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{kubernetes}-local-strict"
    definitions: Schema[Any] = Schema.from_contents(
        json.loads((folder / "_definitions.json").read_text())
    )
    return definitions @ Registry()


@cache
def custom(group: str, version: str, kind: str) -> Draft202012Validator:
    """Validator of a custom kind, closed to names that its definition does not list."""
    found = re.compile(rf"^    kind: {kind}$", re.MULTILINE)
    for file in sorted(_definitions(group).glob("*.yaml")):
        text = file.read_text()
        if found.search(text):
            versions = yaml.load(text, _Loader)["spec"]["versions"]  # noqa: S506 - a safe loader
            (served,) = (v for v in versions if v["name"] == version)
            return Draft202012Validator(_closed(served["schema"]["openAPIV3Schema"]))
    raise LookupError(f"{group} defines no {kind}")


@cache
def _definitions(group: str) -> Path:
    module, expected, folder = _MODULES[group]
    return module_folder(module, expected) / folder


@cache
def module_folder(module: str, expected: str) -> Path:
    """Folder of a Go module's content, once its sum is the expected one."""
    done = subprocess.run(
        [require_tool("go"), "mod", "download", "-json", module],
        capture_output=True,
        check=False,
        text=True,
        cwd="/",
    )
    found = json.loads(done.stdout)
    assert not found.get("Error"), f"{module}: {found['Error']}"
    assert found["Sum"] == expected, f"{module} has the sum {found['Sum']}"
    return Path(found["Dir"])


def _closed(schema: Any) -> Any:
    """JSON schema of a structural schema: no unknown names, and integers may be strings."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # Patterns and formats are Go's.
    closed = {key: _closed(part) for key, part in schema.items() if key not in _GO_ONLY}
    if closed.pop("x-kubernetes-int-or-string", False):
        closed.pop("type", None)
    open_ended = closed.pop("x-kubernetes-preserve-unknown-fields", False)
    if isinstance(schema.get("properties"), dict) and not open_ended:
        closed.setdefault("additionalProperties", False)
    return closed


_GO_ONLY = ("format", "pattern")
