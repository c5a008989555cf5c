"""The network policies, read as a cluster reads them, leave exactly the paths that Avikam needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.cluster.helm import Resource, of_kind, render

# Who a peer may be: our components, and stand-ins for the rest of the world.
LABELS = {
    name: {
        "app.kubernetes.io/name": "avikam",
        "app.kubernetes.io/instance": "avikam",
        "app.kubernetes.io/component": name,
    }
    for name in ("gateway", "worker", "redis", "test", "model")
}
NAMESPACES = {
    **dict.fromkeys(LABELS, "avikam"),
    "stranger": "elsewhere",
    "neighbour": "avikam",
    "prometheus": "monitoring",
    "dns": "kube-system",
    "archive": "outside",
    "collector": "observability",
}
# Peers that are addresses: none of the cluster's.
ADDRESSES = {"archive": "203.0.113.0/24"}
PORTS = {
    "gateway": {"http": 8000, "grpc": 9000, "metrics": 9090},
    "worker": {"grpc": 50051, "metrics": 9091},
    "redis": {"redis": 6379},
    "dns": {"dns": 53},
    "archive": {"https": 443},
    "collector": {"otlp": 4318},
}

OUTSIDERS = ("stranger", "neighbour", "prometheus", "dns", "archive", "collector")

Path = tuple[str, str, int]


def paths(resources: list[Resource]) -> set[Path]:
    """Every (from, to, port) that both ends' policies let through."""
    policies = of_kind(resources, "NetworkPolicy")
    return {
        (source, target, port)
        for source in NAMESPACES
        for target in PORTS
        for name, port in PORTS[target].items()
        if source != target
        and allows(policies, "egress", source, target, name, port)
        and allows(policies, "ingress", target, source, name, port)
    }


def allows(
    policies: list[Resource], direction: str, pod: str, peer: str, name: str, port: int
) -> bool:
    """Whether the policies that select ``pod`` open this port to or from ``peer``."""
    chosen = [p["spec"] for p in policies if selects(p, pod) and isolates(p, direction)]
    rules = [rule for spec in chosen for rule in spec.get(direction, [])]
    return not chosen or any(opens(rule, direction, peer, {name, port}) for rule in rules)


def selects(policy: Resource, pod: str) -> bool:
    wanted = policy["spec"]["podSelector"].get("matchLabels", {})
    return NAMESPACES[pod] == "avikam" and wanted.items() <= LABELS.get(pod, {}).items()


def isolates(policy: Resource, direction: str) -> bool:
    return direction.capitalize() in policy["spec"]["policyTypes"]


def opens(rule: dict[str, Any], direction: str, peer: str, names: set[str | int]) -> bool:
    peers = rule.get("from" if direction == "ingress" else "to")
    listed = {port["port"] for port in rule.get("ports", [])}
    return bool(listed & names) and (peers is None or any(matches(p, peer) for p in peers))


def matches(selector: dict[str, Any], peer: str) -> bool:
    if "ipBlock" in selector:
        return bool(ADDRESSES.get(peer) == selector["ipBlock"]["cidr"])
    if "namespaceSelector" in selector:
        labels = selector["namespaceSelector"].get("matchLabels", {})
        return bool(labels.get("kubernetes.io/metadata.name") == NAMESPACES[peer])
    wanted = selector.get("podSelector", {}).get("matchLabels", {})
    return NAMESPACES[peer] == "avikam" and wanted.items() <= LABELS.get(peer, {}).items()


def everyone_to_the_gateways() -> Iterator[Path]:
    for source in OUTSIDERS:
        yield source, "gateway", 8000
        yield source, "gateway", 9000


NEEDED = {
    ("gateway", "worker", 50051),
    ("gateway", "dns", 53),
    ("test", "gateway", 8000),
    ("test", "gateway", 9090),
    ("test", "dns", 53),
    ("prometheus", "gateway", 9090),
    ("prometheus", "worker", 9091),
}
# What no policy of ours governs: others' own way to the cluster's DNS.
FOREIGN = {
    (source, target, port)
    for source in OUTSIDERS
    for target, port in (("dns", 53), ("archive", 443), ("collector", 4318))
    if source != target
}


def test_only_the_needed_paths_are_open() -> None:
    assert paths(render()) == NEEDED | FOREIGN | set(everyone_to_the_gateways())


def test_with_redis_gateways_and_workers_reach_it_and_nobody_else() -> None:
    found = paths(render(values={"redis": {"mode": "internal"}}))
    opened = {("gateway", "redis", 6379), ("worker", "redis", 6379), ("worker", "dns", 53)}
    assert found == NEEDED | FOREIGN | set(everyone_to_the_gateways()) | opened


def test_traced_gateways_and_workers_reach_the_collector() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}
    tracing = {"endpoint": "http://otel-collector.observability:4318", "peers": [peer]}
    found = paths(render(values={"tracing": tracing}))
    opened = {(source, "collector", 4318) for source in ("gateway", "worker")}
    opened.add(("worker", "dns", 53))
    assert found == NEEDED | FOREIGN | set(everyone_to_the_gateways()) | opened


def test_clients_can_be_narrowed_to_a_namespace() -> None:
    only = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}]
    found = paths(render(values={"networkPolicy": {"clients": only}}))
    assert ("stranger", "gateway", 8000) in found
    assert ("neighbour", "gateway", 8000) not in found


def test_workers_speak_to_nobody() -> None:
    assert not [path for path in paths(render()) if path[0] == "worker"]


ARCHIVE = {
    "url": "https://models.example.com/a.tar.gz",
    "sha256": "0" * 64,
    "egressCIDRs": ["203.0.113.0/24"],
}


def test_only_the_job_that_fills_a_claim_reaches_the_archive() -> None:
    pvc = {"create": {"size": "40Gi"}}
    found = paths(render(values={"model": {"source": "pvc", "pvc": pvc, "download": ARCHIVE}}))
    opened = {("model", "archive", 443), ("model", "dns", 53)}
    assert found == NEEDED | FOREIGN | set(everyone_to_the_gateways()) | opened


def test_workers_that_download_themselves_reach_it_too() -> None:
    found = paths(render(values={"model": {"source": "download", "download": ARCHIVE}}))
    assert ("worker", "archive", 443) in found
    assert ("gateway", "archive", 443) not in found


def test_further_paths_can_be_opened() -> None:
    rule = {"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 443}]}
    found = paths(render(values={"networkPolicy": {"gateway": {"extraEgress": [rule]}}}))
    assert ("gateway", "archive", 443) in found
    assert ("worker", "archive", 443) not in found
