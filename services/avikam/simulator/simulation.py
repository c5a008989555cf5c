"""Arrivals, admission, routing, pods and the autoscaler, one event after the other."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from avikam.gateway.admission.admission import AdmissionLimits
from avikam.gateway.admission.fair_queue import FairQueue
from avikam.gateway.routing.hint import Hint
from avikam.gateway.routing.policies import POLICIES
from avikam.simulator.autoscaler import SYNC_SECONDS, Autoscaler, ScalingRules
from avikam.simulator.hardware import Hardware
from avikam.simulator.pod import Job, Pod
from avikam.simulator.traces import Trace

# What each worker queues beyond its slots: the worker's own default.
QUEUE_PER_WORKER = 1024
# Distinct beginnings of prompts; some are popular (Zipf).
PREFIXES = 1000


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run depends on; equal scenarios give equal results."""

    trace: Trace
    hardware: Hardware
    rules: ScalingRules
    prompt: int = 64
    answer: int = 50
    routing: str = "affinity"
    limits: AdmissionLimits = field(default_factory=AdmissionLimits)
    seed: int = 0

    @property
    def context(self) -> int:
        """Tokens of a sequence in the middle of its answer."""
        return self.prompt + self.answer // 2


@dataclass(frozen=True, slots=True)
class Sample:
    """The cluster at one autoscaler's look at it."""

    time: float
    rate: float
    demand: int
    ready: int
    replicas: int


@dataclass(slots=True)
class Outcome:
    """What happened."""

    samples: list[Sample] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    arrived: int = 0
    rejected: int = 0
    completed: int = 0
    unfinished: int = 0
    pod_seconds: float = 0.0


class Simulation:
    """One run; call :meth:`run` once."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._rng = random.Random(scenario.seed)
        self._autoscaler = Autoscaler(scenario.rules)
        self._choose = POLICIES[scenario.routing]
        self._queue: FairQueue[Job] = FairQueue()
        self._events: list[tuple[float, int, Pod | None]] = []
        self._pods: dict[int, Pod] = {}
        # Pods that take sequences, and how many they take; follows the pods' changes.
        self._ready: list[Pod] = []
        self._room = 0
        self._serial = 0
        self._in_pods = 0
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """From a cluster at its minimum, until the trace ends."""
        for _ in range(self._scenario.rules.minimum):
            self._start_pod(0.0, ready_at=0.0)
        self._at(0.0, None)
        for job in self._jobs():
            self._until(job.arrived)
            self._arrive(job)
        self._until(self._scenario.trace.seconds)
        self.outcome.unfinished = self._in_pods + len(self._queue)
        return self.outcome

    def _jobs(self) -> Iterator[Job]:
        scenario, rng = self._scenario, self._rng
        for time in scenario.trace.arrivals(rng):
            key = int(PREFIXES ** rng.random())
            yield Job(time, scenario.prompt, scenario.answer, key)

    def _at(self, time: float, pod: Pod | None) -> None:
        """Look at a pod at a time; None is the autoscaler's turn."""
        self._serial += 1
        heapq.heappush(self._events, (time, self._serial, pod))

    def _until(self, time: float) -> None:
        while self._events and self._events[0][0] <= time:
            now, _, pod = heapq.heappop(self._events)
            if pod is None:
                self._scale(now)
            else:
                self._look_at(now, pod)

    def _look_at(self, now: float, pod: Pod) -> None:
        if pod.ready_at == now:
            self._update_ready(now)
        for job in pod.finish(now):
            self._in_pods -= 1
            self.outcome.completed += 1
            self.outcome.first_tokens.append(job.first_token - job.arrived)
        self._expect(pod)
        if pod.draining and not pod.demand:
            self._pods.pop(pod.index, None)
        self._let_in(now)

    def _expect(self, pod: Pod) -> None:
        if (time := pod.next_finish()) is not None:
            self._at(time, pod)

    # Admission and routing: as the gateway's, with the gateway's queue, limits and policies.

    def _arrive(self, job: Job) -> None:
        limits = self._scenario.limits
        self.outcome.arrived += 1
        if not self._queue and self._in_pods < self._room:
            self._route(job.arrived, job)
        elif len(self._queue) < limits.requests and self._queue.cost + job.cost <= limits.tokens:
            self._queue.push("tenant", job.cost, job)
        else:
            self.outcome.rejected += 1

    def _let_in(self, now: float) -> None:
        while self._in_pods < self._room and (job := self._queue.pop()) is not None:
            self._route(now, job)

    def _route(self, now: float, job: Job) -> None:
        self._serial += 1
        hint = Hint(key=job.key, cost=job.cost, turn=self._serial, draw=self._rng.random())
        pod: Pod = self._choose(self._ready, hint)
        idle = not pod.demand
        pod.take(now, job)
        self._in_pods += 1
        if idle:
            self._expect(pod)

    # Scaling: the autoscaler decides, pods take their time to start, and drain before they go.

    def _scale(self, now: float) -> None:
        staying = [pod for pod in self._pods.values() if not pod.draining]
        demand = self._in_pods + len(self._queue)
        wanted = self._autoscaler.sync(now, len(staying), demand)
        self._note(now, demand, wanted)
        for _ in range(wanted - len(staying)):
            self._start_pod(now, ready_at=now + self._scenario.hardware.startup_seconds)
        # Kubernetes removes pods that are not ready first, then the newest.
        newest_first = sorted(staying, key=lambda pod: (pod.ready_at, pod.index), reverse=True)
        for pod in newest_first[: max(len(staying) - wanted, 0)]:
            pod.draining = True
            if not pod.demand:
                del self._pods[pod.index]
        self._update_ready(now)
        self._at(now + SYNC_SECONDS, None)

    def _start_pod(self, now: float, ready_at: float) -> None:
        self._serial += 1
        scenario = self._scenario
        pod = Pod(self._serial, scenario.hardware, scenario.context, ready_at)
        self._pods[pod.index] = pod
        if ready_at > now:
            self._at(ready_at, pod)
        self._update_ready(now)

    def _update_ready(self, now: float) -> None:
        self._ready = [p for p in self._pods.values() if p.ready_at <= now and not p.draining]
        self._room = sum(pod.slots + QUEUE_PER_WORKER for pod in self._ready)

    def _note(self, now: float, demand: int, replicas: int) -> None:
        rate = self._scenario.trace.rate(now)
        self.outcome.pod_seconds += SYNC_SECONDS * len(self._pods)
        self.outcome.samples.append(Sample(now, rate, demand, len(self._ready), replicas))
