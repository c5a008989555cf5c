"""Kubernetes' HorizontalPodAutoscaler, as documented and as its controller computes.

    desired = ceil(total metric / target per pod)      unless within 10 % of the target
    down:  the highest desired of the last stabilization window
    up, down:  no further than the policies allow per period; the one that allows most wins

Source: kubernetes.io, "Horizontal Pod Autoscaling"; pkg/controller/podautoscaler/horizontal.go.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

SYNC_SECONDS = 15.0
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """How far replicas may change within ``seconds``: by pods, and by percent."""

    pods: int
    percent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """An HPA's spec; the defaults are the chart's."""

    target: float
    minimum: int = 2
    maximum: int = 32
    up: ScalingPolicy = ScalingPolicy(pods=4, percent=100, seconds=15)
    down: ScalingPolicy = ScalingPolicy(pods=1, percent=10, seconds=60)
    down_window: float = 300.0


def desired_replicas(current: int, total: float, target: float) -> int:
    """Replicas for a metric's total over all pods, with a target per pod (AverageValue)."""
    if current == 0:
        return math.ceil(total / target)
    ratio = total / (target * current)
    if abs(ratio - 1) <= TOLERANCE:
        return current
    return math.ceil(total / target)


@dataclass(slots=True)
class Autoscaler:
    """The controller's memory: past recommendations and past changes."""

    rules: ScalingRules
    _recommendations: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)

    def sync(self, now: float, current: int, total: float) -> int:
        """Replicas to have from now on (seconds), given what runs and the metric's total."""
        wanted = desired_replicas(current, total, self.rules.target)
        wanted = min(
            max(self._stabilized(now, current, wanted), self._floor(now, current)),
            self._ceiling(now, current),
        )
        wanted = min(max(wanted, self.rules.minimum), self.rules.maximum)
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    def _stabilized(self, now: float, current: int, wanted: int) -> int:
        """Up at once; down only to the highest recommendation of the window."""
        recent = self._recommendations
        recent.append((now, wanted))
        while recent[0][0] < now - self.rules.down_window:
            recent.popleft()
        return wanted if wanted >= current else min(current, max(value for _, value in recent))

    def _ceiling(self, now: float, current: int) -> int:
        policy = self.rules.up
        start = current - self._changed(now, policy.seconds, up=True)
        return max(start + policy.pods, math.ceil(start * (1 + policy.percent / 100)))

    def _floor(self, now: float, current: int) -> int:
        policy = self.rules.down
        start = current + self._changed(now, policy.seconds, up=False)
        return min(start - policy.pods, int(start * (1 - policy.percent / 100)))

    def _changed(self, now: float, seconds: float, *, up: bool) -> int:
        """Replicas added (or removed) within the last ``seconds``."""
        while self._changes and self._changes[0][0] <= now - max(
            self.rules.up.seconds, self.rules.down.seconds
        ):
            self._changes.popleft()
        recent = [change for time, change in self._changes if time > now - seconds]
        return (
            sum(change for change in recent if change > 0)
            if up
            else -sum(change for change in recent if change < 0)
        )
