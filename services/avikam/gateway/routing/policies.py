"""The policies by the names that settings use."""

from __future__ import annotations

from collections.abc import Mapping

from avikam.gateway.routing import affinity, least_cost, power_of_two, round_robin
from avikam.gateway.routing.hint import Policy

POLICIES: Mapping[str, Policy] = {
    "affinity": affinity.choose,
    "least_cost": least_cost.choose,
    "round_robin": round_robin.choose,
    "power_of_two": power_of_two.choose,
}
