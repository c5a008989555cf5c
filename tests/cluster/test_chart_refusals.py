"""A mistake in the values is refused before anything reaches the cluster, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.helm import RefusedError, render

SHA = "0" * 64

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a typo": ({"gateway": {"replica": 3}}, "additional properties 'replica' not allowed"),
    "a typo in a pool": ({"pools": {"main": {"profil": "cpu"}}}, "'profil' not allowed"),
    "a typo in a setting": ({"worker": {"config": {"slot": 8}}}, "'slot' not allowed"),
    "a setting out of range": ({"worker": {"config": {"token_budget": 100}}}, "multipleOf"),
    "a setting that is the chart's": (
        {"gateway": {"config": {"http_port": 80}}},
        "additional properties 'http_port' not allowed",
    ),
    "an environment name without the double underscore": (
        {"gateway": {"extraEnv": [{"name": "AVIKAM_GATEWAY_HTTP_PORT", "value": "80"}]}},
        "does not match pattern '^AVIKAM_(GATEWAY|WORKER)__[A-Z0-9_]+$'",
    ),
    "the tag latest": ({"gateway": {"image": {"tag": "latest"}}}, "'not' failed"),
    "an unknown profile": (
        {"profile": "h200"},
        'pool main asks for the profile "h200", which does not exist; profiles are: a100, '
        "a100-single, a10g, a10g-single, cpu, h100",
    ),
    "more ranks than GPUs": (
        {"profile": "a10g", "pools": {"main": {"gpus": 2}}},
        "pool main has gpus 2 and config.ranks 4; a worker runs one rank on each of its GPUs",
    ),
    "no pool": ({"pools": {"main": None}}, "pools is empty: Avikam needs at least one pool"),
    "min above max": (
        {"worker": {"autoscaling": {"minReplicas": 9, "maxReplicas": 3}}},
        "pool main has minReplicas 9 above maxReplicas 3; raise maxReplicas or lower minReplicas",
    ),
    "gateways with min above max": (
        {"gateway": {"autoscaling": {"minReplicas": 9}}},
        "gateway.autoscaling has minReplicas 9 above maxReplicas 8",
    ),
    "an HPA that should scale to zero": (
        {"worker": {"autoscaling": {"kind": "hpa", "minReplicas": 0}}},
        "pool main has minReplicas 0, which an HPA refuses; set autoscaling.kind to keda",
    ),
    "KEDA without Prometheus": (
        {"worker": {"autoscaling": {"kind": "keda"}}},
        "pool main scales with KEDA but keda.prometheusAddress is empty",
    ),
    "an update that cannot proceed": (
        {"worker": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}},
        "pool main has rollingUpdate maxUnavailable 0 and maxSurge 0",
    ),
    "a claim without a name": (
        {"model": {"source": "pvc"}},
        "model.source is pvc but model.pvc.claimName is empty",
    ),
    "a download without a checksum": (
        {"model": {"source": "download", "download": {"url": "https://models.example.com/a"}}},
        'model.download.sha256 is ""; it must be the archive\'s SHA-256',
    ),
    "a download that no network policy allows": (
        {
            "model": {
                "source": "download",
                "download": {"url": "https://models.example.com/a", "sha256": SHA},
            }
        },
        "model.download.egressCIDRs is empty",
    ),
    "a download in the clear": (
        {"model": {"source": "download", "download": {"url": "http://models.example.com/a"}}},
        "does not match pattern '^(https://.+)?$'",
    ),
    "a claim that nothing fills": (
        {"model": {"source": "pvc", "pvc": {"create": {"size": "40Gi"}}}},
        "model.pvc.create makes an empty claim; set model.download.url and sha256 to fill it",
    ),
    "a claim for one node and many workers": (
        {
            "profile": "h100",
            "model": {
                "source": "pvc",
                "pvc": {"create": {"size": "40Gi", "accessModes": ["ReadWriteOnce"]}},
                "download": {
                    "url": "https://models.example.com/a",
                    "sha256": SHA,
                    "egressCIDRs": ["203.0.113.0/24"],
                },
            },
        },
        "the claim avikam-model has the access modes ReadWriteOnce, but pool main may have several "
        "workers; take a ReadOnlyMany or ReadWriteMany claim, or one worker",
    ),
    "a label that selects": (
        {"commonLabels": {"app.kubernetes.io/name": "mine"}},
        "commonLabels has app.kubernetes.io/name, by which the chart finds its own pods; choose",
    ),
    "a seal in a config map": (
        {"worker": {"config": {"kv_secret": "secret"}}},
        "additional properties 'kv_secret' not allowed",
    ),
    "an alert that does not exist": (
        {"monitoring": {"disabledAlerts": ["AvikamSlow"]}},
        "monitoring.disabledAlerts names AvikamSlow, which is no alert of this chart",
    ),
    "a collector without its scheme": (
        {"tracing": {"endpoint": "otel-collector:4318"}},
        "does not match pattern '^(https?://[^/@]+(/.*)?)?$'",
    ),
    "tracing that contradicts the chart's": (
        {"gateway": {"config": {"tracing_endpoint": "http://otel-collector:4318"}}},
        "additional properties 'tracing_endpoint' not allowed",
    ),
    "a probe of another kind": (
        {"gateway": {"livenessProbe": {"exec": {"command": ["true"]}}}},
        "additional properties 'exec' not allowed",
    ),
    "an external Redis without its secret": (
        {"redis": {"mode": "external"}},
        "redis.mode is external but redis.external.existingSecret is empty",
    ),
    "an external Redis that no network policy allows": (
        {"redis": {"mode": "external", "external": {"existingSecret": "redis"}}},
        "redis.mode is external but redis.external.egressCIDRs is empty",
    ),
    "routes without a Gateway": (
        {"gatewayApi": {"grpcRoute": True}},
        "gatewayApi routes need a Gateway to attach to",
    ),
    "an ingress without a host": (
        {"ingress": {"enabled": True}},
        "ingress.enabled is true but ingress.hosts and ingress.grpcHosts are empty",
    ),
    "one host for HTTP and gRPC": (
        {"ingress": {"enabled": True, "hosts": ["a.example.com"], "grpcHosts": ["a.example.com"]}},
        "ingress.hosts and ingress.grpcHosts both have a.example.com",
    ),
    "certificates without their secret": (
        {"mtls": {"mode": "existing", "existing": {"gatewaySecret": "gateway-tls"}}},
        "mtls.mode is existing but mtls.existing.workerSecret is empty",
    ),
    "a certificate's file, which the chart mounts": (
        {"worker": {"config": {"tls_key": "/etc/tls.key"}}},
        "additional properties 'tls_key' not allowed",
    ),
    "alerts without a webhook secret": (
        {"monitoring": {"alertmanagerConfig": {"enabled": True}}},
        "monitoring.alertmanagerConfig is enabled but its existingSecret is empty",
    ),
}


@pytest.mark.parametrize(("values", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_refused_with_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        render(values=values)
    assert sentence in str(refusal.value)
