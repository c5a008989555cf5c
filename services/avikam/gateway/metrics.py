"""What a gateway measures: ``avikam_gateway_*``, in a registry of its own.

Latency buckets have a boundary at exactly 0.1 s, so that "under 100 ms" is a ratio of two counters.
Labels are bounded: routes, outcomes and worker addresses, never clients or requests.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from avikam.gateway import quick_series
from avikam.gateway.resilience.breaker import State
from avikam.protocol.errors import ApiError

# fmt: off
LATENCY_BUCKETS = (
    .001, .0025, .005, .01, .02, .03, .04, .05, .06, .075, .09, .1, .125, .15, .2, .3, .5, .8,
    1, 2.5, 5, 10, 30, 60, 120, 300,
)
LAG_BUCKETS = (.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5)
TOKEN_BUCKETS = (.0005, .001, .0025, .005, .01, .015, .02, .03, .05, .075, .1, .15, .25, .5, 1, 2.5)
# fmt: on


class GatewayMetrics:
    """One object per gateway; :attr:`registry` is what /metrics shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # Looking series up by their labels costs more than counting.
        self._request_series: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self.requests = self._counter(
            "requests",
            "Requests by route and HTTP status; 499 is a client that left.",
            "route",
            "status",
        )
        self.duration = self._histogram(
            "request_duration_seconds",
            "From the request's headers to the end of its reply.",
            LATENCY_BUCKETS,
            "route",
        )
        self.first_token = quick_series.Histogram(
            "avikam_gateway_time_to_first_token_seconds",
            "From admission to the first token.",
            LATENCY_BUCKETS,
            self.registry,
        )
        self.token_gap = quick_series.Histogram(
            "avikam_gateway_inter_token_seconds",
            "Between tokens, averaged over a frame.",
            TOKEN_BUCKETS,
            self.registry,
        )
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of finished prompts.")
        self.generated_tokens = quick_series.Counter(
            "avikam_gateway_generated_tokens", "Tokens received from workers.", self.registry
        )
        self.in_flight = quick_series.Gauge(
            "avikam_gateway_requests_in_flight", "Requests being served.", self.registry
        )
        self.running = self._gauge("sequences_running", "Sequences on workers.")
        self.queue_depth = self._gauge("queue_depth", "Sequences waiting in the gateway.")
        self.workers_known = self._gauge("workers_known", "Workers that discovery lists.")
        self.workers_ready = self._gauge("workers_ready", "Workers that take sequences.")
        self.workers_late = self._gauge(
            "workers_late", "Ready workers passed over because their process answers late."
        )
        self.attempts_failed = self._counter(
            "attempts_failed", "Tries on workers that came to nothing.", "kind"
        )
        self.retries = self._counter(
            "retries", "Requests moved to another worker before their first token.", "outcome"
        )
        self.charged_retries = quick_series.Counter(
            "avikam_gateway_charged_retries", "Retries that the budget paid for.", self.registry
        )
        self.resumes = self._counter(
            "midstream_resumes", "Lost streams, continued elsewhere or not.", "outcome"
        )
        self.retry_budget = self._gauge("retry_budget_remaining", "Charged retries left now.")
        self.breaker_state = self._gauge(
            "breaker_state", "0 closed, 1 open, 2 half open.", "breaker"
        )
        self.breaker_changes = self._counter(
            "breaker_transitions", "State changes of breakers.", "breaker", "to"
        )
        self.redis_degraded = self._gauge(
            "redis_degraded", "1 while the Redis of the gateways is left out because it fails."
        )
        self.loop_lag = quick_series.Histogram(
            "avikam_gateway_loop_lag_seconds",
            "How late the event loop's timers fire: what every request waits for the others.",
            LAG_BUCKETS,
            self.registry,
        )
        self.shed = self._counter("shed", "Requests refused before they were parsed.", "reason")

    def count_refusal(self, error: ApiError) -> None:
        """Something was answered that never became a request."""
        self.count_request("unknown", error.status, 0.0)
        self.shed.labels(error.code).inc()

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """A request ended. ``route`` is a declared path: labels stay few."""
        series = self._request_series.get((route, status))
        if series is None:
            series = self.requests.labels(route, str(status)), self.duration.labels(route)
            self._request_series[route, status] = series
        requests, duration = series
        requests.inc()
        duration.observe(seconds)

    def note_breaker(self, name: str, state: State) -> None:
        """A breaker, the pool's or the one of a worker's address, changed its state."""
        self.breaker_state.labels(name).set(list(State).index(state))
        self.breaker_changes.labels(name, state.value).inc()

    def count_recovery(self, resumed: bool, outcome: str) -> None:
        """A failed attempt was replaced (``done``) or not (``failed``)."""
        counter = self.resumes if resumed else self.retries
        counter.labels(outcome).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"avikam_gateway_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"avikam_gateway_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"avikam_gateway_{name}", text, labels, buckets=buckets, registry=self.registry
        )
