"""Every render passes the API server's schemas: three Kubernetes versions, every profile, every
example, and the custom resources at the versions their projects publish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.cluster.helm import EXAMPLES, KUBERNETES, OPERATOR, PROFILES, render
from tests.cluster.schemas import check

# Every optional part of a pod, one of each.
POD = {
    "runtimeClassName": "nvidia",
    "schedulerName": "gang",
    "priorityClassName": "serving",
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["registry.example.com"]}],
    "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
    "annotations": {"reloader.stakater.com/auto": "true"},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraEnvFrom": [{"configMapRef": {"name": "proxy"}}],
    "extraArgs": ["--log-level=debug"],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    "initContainers": [{"name": "before", "image": "registry.example.com/before:1.0.0"}],
    "extraContainers": [{"name": "beside", "image": "registry.example.com/beside:1.0.0"}],
    "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
    "startupProbe": {"failureThreshold": 500},
    "readinessProbe": {"timeoutSeconds": 2},
    "livenessProbe": {"initialDelaySeconds": 1},
    "tmpSize": "1Gi",
}
EVERYTHING: dict[str, Any] = {
    "commonLabels": {"team": "inference"},
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}
    ],
    "serviceAccount": {"name": "avikam"},
    "worker": {
        **POD,
        "gpuResource": "nvidia.com/mig-3g.20gb",
        "shmSize": "8Gi",
        "autoscaling": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}}},
    },
    "redis": {"mode": "internal", "internal": {"priorityClassName": "serving"}},
    "model": {
        "source": "pvc",
        "pvc": {"create": {"size": "40Gi", "storageClassName": "shared"}},
        "download": {
            "url": "https://models.example.com/a.tar.gz",
            "sha256": "0" * 64,
            "egressCIDRs": ["203.0.113.0/24"],
        },
    },
    "monitoring": {
        "alertmanagerConfig": {"enabled": True, "existingSecret": "webhooks"},
        "relabelings": [{"targetLabel": "cluster", "replacement": "one"}],
        "metricRelabelings": [{"action": "labeldrop", "regex": "pod_uid"}],
        "dashboardAnnotations": {"grafana_folder": "Avikam"},
        "alertLabels": {"team": "inference"},
        "disabledAlerts": ["AvikamPodsRestarting"],
    },
    "ingress": {
        "enabled": True,
        "hosts": ["avikam.example.com"],
        "grpcHosts": ["grpc.avikam.example.com"],
        "tlsSecret": "tls",
    },
    "mtls": {"mode": "cert-manager"},
    "gatewayApi": {"httpRoute": True, "grpcRoute": True, "parentRefs": [{"name": "public"}]},
    "gateway": {
        **POD,
        "autoscaling": {
            "enabled": True,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
        },
        "service": {
            "type": "LoadBalancer",
            "labels": {"public": "true"},
            "httpNodePort": 30080,
            "loadBalancerClass": "example.com/lb",
            "loadBalancerSourceRanges": ["203.0.113.0/24"],
            "externalTrafficPolicy": "Local",
            "ipFamilyPolicy": "PreferDualStack",
        },
    },
}


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_with_everything_on_is_valid(profile: str, kubernetes: str) -> None:
    values = {"profile": profile, **EVERYTHING}
    if kubernetes != KUBERNETES[0]:  # Claims have their present shape since 1.31.
        claim = {"name": "gpu", "resourceClaimTemplateName": "gpu"}
        values["worker"] = {**EVERYTHING["worker"], "resourceClaims": [claim]}
    for resource in render(values=values, kubernetes=kubernetes, apis=OPERATOR):
        check(resource, kubernetes)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid(example: Path) -> None:
    # Image volumes are what one example is about, so the newest.
    for resource in render(example, kubernetes=KUBERNETES[-1], apis=OPERATOR):
        check(resource, KUBERNETES[-1])


def test_a_mistake_in_a_custom_resource_would_be_found() -> None:
    resource = render(apis=OPERATOR)[-1]
    resource["spec"]["endpoint"] = []
    with pytest.raises(jsonschema.ValidationError, match="endpoint"):
        check(resource, KUBERNETES[0])
