"""Is this cluster fit for production? Manifests as they will be applied, read one by one.

Each check is a function from the resources to findings; what is missing is BROKEN with the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from avikam.operations.findings import Finding, broken, good, warned

Resource = dict[str, Any]
Check = Callable[[Sequence[Resource]], Iterator[Finding]]


def judge_manifests(resources: Sequence[Resource]) -> Iterator[Finding]:
    """Findings about rendered manifests, such as those of ``helm template``."""
    if not _of(resources, "Deployment"):
        yield broken("manifests", "hold no Deployment", "pipe `helm template` into this command")
        return
    for check in _CHECKS:
        yield from check(resources)


def _replicas(resources: Sequence[Resource]) -> Iterator[Finding]:
    """One pod is none when its node is drained."""
    scaled = {
        s["spec"]["scaleTargetRef"]["name"]: s["spec"].get("minReplicas", 1)
        for s in _of(resources, "HorizontalPodAutoscaler")
    } | {
        s["spec"]["scaleTargetRef"]["name"]: s["spec"].get("minReplicaCount", 0)
        for s in _of(resources, "ScaledObject")
    }
    for deployment in _of(resources, "Deployment"):
        name = _name(deployment)
        least = scaled.get(name, deployment["spec"].get("replicas", 1))
        if least >= 2:
            yield good(f"fallback: {name}", f"at least {least} pods")
        else:
            remedy = "raise gateway.replicas or worker.autoscaling.minReplicas to 2"
            yield broken(f"fallback: {name}", f"{least} pod at least", remedy)


def _disruptions(resources: Sequence[Resource]) -> Iterator[Finding]:
    budgets = [b["spec"]["selector"]["matchLabels"] for b in _of(resources, "PodDisruptionBudget")]
    for deployment in _of(resources, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        name = f"fallback: {_name(deployment)}"
        if any(chosen.items() <= labels.items() for chosen in budgets):
            yield good(name, "evictions are limited")
        else:
            yield broken(name, "may be evicted as a whole", "enable gateway.pdb and worker.pdb")


def _capacity(resources: Sequence[Resource]) -> Iterator[Finding]:
    """Load that grows meets pods that grow."""
    kinds = ("HorizontalPodAutoscaler", "ScaledObject")
    scaled = [_name(s) for s in _of(resources, *kinds) if "worker" in _name(s)]
    if scaled:
        yield good("load", f"{', '.join(scaled)} scale with demand")
    else:
        remedy = "choose a GPU profile, or set worker.autoscaling.kind to hpa or keda"
        yield warned("load", "no pool of workers scales with demand", remedy)


def _network(resources: Sequence[Resource]) -> Iterator[Finding]:
    closed = [
        p
        for p in _of(resources, "NetworkPolicy")
        if set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not p["spec"].get("ingress")
        and not p["spec"].get("egress")
    ]
    if closed:
        yield good("security: network", "closed but for the paths that are named")
    else:
        yield broken("security: network", "no default-deny policy", "enable networkPolicy")


def _pods(resources: Sequence[Resource]) -> Iterator[Finding]:
    """Pod Security "restricted", as far as a container can break it."""
    for deployment in _of(resources, "Deployment", "StatefulSet"):
        pod = deployment["spec"]["template"]["spec"]
        loose = [c["name"] for c in _containers(pod) if not _is_restricted(pod, c)]
        name = f"security: {_name(deployment)}"
        if loose:
            remedy = "keep the chart's securityContext"
            yield broken(name, f"{', '.join(loose)} is not restricted", remedy)
        else:
            yield good(name, "non-root, read-only, without capabilities")


def _is_restricted(pod: Resource, container: Resource) -> bool:
    own = container.get("securityContext", {})
    return bool(
        pod.get("securityContext", {}).get("runAsNonRoot")
        and own.get("readOnlyRootFilesystem")
        and own.get("allowPrivilegeEscalation") is False
        and own.get("capabilities", {}).get("drop") == ["ALL"]
    )


def _images(resources: Sequence[Resource]) -> Iterator[Finding]:
    images = {
        container["image"]
        for deployment in _of(resources, "Deployment", "StatefulSet")
        for container in _containers(deployment["spec"]["template"]["spec"])
    }
    loose = sorted(image for image in images if "@sha256:" not in image)
    if loose:
        remedy = "set image.digest: a tag can be moved"
        yield warned("security: images", f"{', '.join(loose)} without a digest", remedy)
    else:
        yield good("security: images", "pinned by digest")


def _keys(resources: Sequence[Resource]) -> Iterator[Finding]:
    made = [s for s in _of(resources, "Secret") if "keys.yaml" in s.get("stringData", {})]
    if made:
        remedy = "make keys with `avikam keys add` and name their secret in auth.existingSecret"
        yield warned("security: keys", "the chart makes one key for everybody", remedy)
    else:
        yield good("security: keys", "in a secret of your own")


def _encryption(resources: Sequence[Resource]) -> Iterator[Finding]:
    texts = [text for m in _of(resources, "ConfigMap") for text in m.get("data", {}).values()]
    if any("worker_tls_key" in text for text in texts):
        yield good("security: mTLS", "between gateways and workers")
    else:
        remedy = "set mtls.mode, unless a mesh or the CNI encrypts"
        yield warned("security: mTLS", "gateways and workers speak in the clear", remedy)
    ingresses = _of(resources, "Ingress")
    if any("tls" not in ingress["spec"] for ingress in ingresses):
        yield broken("security: TLS", "an Ingress without a certificate", "set ingress.tlsSecret")


def _alerts(resources: Sequence[Resource]) -> Iterator[Finding]:
    if _of(resources, "PrometheusRule"):
        yield good("alerts", "rules are installed")
    else:
        remedy = "set monitoring.prometheusRule, or load deploy/monitoring/rules yourself"
        yield warned("alerts", "no rules", remedy)


_CHECKS: tuple[Check, ...] = (
    _capacity,
    _replicas,
    _disruptions,
    _network,
    _pods,
    _images,
    _keys,
    _encryption,
    _alerts,
)


def _of(resources: Iterable[Resource], *kinds: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] in kinds]


def _name(resource: Resource) -> str:
    return str(resource["metadata"]["name"])


def _containers(pod: Resource) -> list[Resource]:
    return [*pod.get("initContainers", []), *pod["containers"]]
