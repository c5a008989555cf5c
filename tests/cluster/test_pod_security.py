"""Pod Security Standard "restricted", and what we ask beyond it, on every rendered pod."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.helm import EXAMPLES, PROFILES, Resource, pod_specs, render

# The standard's list, without ephemeral and csi, which the chart does not use; image is newer.
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}


def containers(pod: Resource) -> Iterator[Resource]:
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def violations(pod: Resource) -> Iterator[str]:
    """What Kubernetes' admission, or our own rules, would object to."""
    yield from pod_violations(pod)
    for container in containers(pod):
        for problem in container_violations(container):
            yield f"{container['name']}: {problem}"


def pod_violations(pod: Resource) -> Iterator[str]:
    security = pod["securityContext"]
    if not security.get("runAsNonRoot") or security.get("runAsUser") == 0:
        yield "may run as root"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares a namespace of the host"
    if pod.get("automountServiceAccountToken") is not False:
        yield "holds a token for the API server"
    if pod.get("enableServiceLinks") is not False:
        yield "receives AVIKAM_* variables from Kubernetes"
    for volume in pod.get("volumes", []):
        if set(volume) - {"name"} - VOLUMES - {"image"}:
            yield f"mounts a forbidden kind of volume: {volume}"
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"may fill the node through {volume['name']}"


def container_violations(container: Resource) -> Iterator[str]:
    security = container["securityContext"]
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield "may gain privileges"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "can write its own image"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of the host"
    for variable in container.get("env", []):
        if "valueFrom" in variable:
            yield f"has a secret in its environment: {variable['name']}"
    yield from resource_violations(container["resources"])


def resource_violations(resources: dict[str, Any]) -> Iterator[str]:
    if not {"cpu", "memory"} <= set(resources["requests"]):
        yield "requests no cpu or memory"
    if "memory" not in resources["limits"]:
        yield "may use all memory"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_restricted(profile: str) -> None:
    assert_restricted(render(values={"profile": profile}))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_restricted(example: Path) -> None:
    assert_restricted(render(example))


def assert_restricted(resources: list[Resource]) -> None:
    pods = pod_specs(resources)
    assert len(pods) >= 2
    assert {name: list(violations(pod)) for name, pod in pods.items() if any(violations(pod))} == {}


def test_a_breach_would_be_found() -> None:
    pod = pod_specs(render())["Deployment/avikam-gateway"]
    pod["hostNetwork"] = True
    pod["volumes"].append({"name": "docker", "hostPath": {"path": "/var/run"}})
    pod["containers"][0]["securityContext"]["capabilities"]["add"] = ["NET_ADMIN"]
    assert len(list(violations(pod))) == 3
