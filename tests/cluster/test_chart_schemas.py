"""Every render passes the API server's schemas: three Kubernetes versions, every profile, every
example, and the custom resources at the versions their projects publish."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from tests.cluster.helm import EXAMPLES, KUBERNETES, OPERATOR, PROFILES, render
from tests.cluster.schemas import check

EVERYTHING = {
    "monitoring": {"alertmanagerConfig": {"enabled": True, "existingSecret": "webhooks"}},
    "ingress": {
        "enabled": True,
        "hosts": ["avikam.example.com"],
        "grpcHosts": ["grpc.avikam.example.com"],
        "tlsSecret": "tls",
    },
    "mtls": {"mode": "cert-manager"},
    "gatewayApi": {"httpRoute": True, "grpcRoute": True, "parentRefs": [{"name": "public"}]},
    "gateway": {"autoscaling": {"enabled": True}},
}


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_with_everything_on_is_valid(profile: str, kubernetes: str) -> None:
    values = {"profile": profile, **EVERYTHING}
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
