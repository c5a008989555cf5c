"""The ``vllm:*`` series that inference-aware gateways, autoscalers and dashboards read.

Names, types, labels and buckets are vLLM V1's (vllm/v1/metrics/loggers.py). A slot holds one
sequence of any length, so it appears as one block of ``max_model_len`` tokens. Slots are fixed, so
nothing is ever preempted: that counter stays 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from avikam.engine.interface import EngineModel, EngineStats, Finish, FinishReason, SequenceSpec

_FIRST = """
    .001 .005 .01 .02 .04 .06 .08 .1 .25 .5 .75 1 2.5 5 7.5 10 20 40 80 160 640 2560
"""
_EACH = ".01 .025 .05 .075 .1 .15 .2 .3 .4 .5 .75 1 2.5 5 7.5 10 20 40 80"
_REQUEST = ".3 .5 .8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680"

_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CANCELLED: "abort",
    FinishReason.DEADLINE: "abort",
    FinishReason.ERROR: "error",
    FinishReason.FAILED: "error",
}


def _labels(model: EngineModel) -> dict[str, str]:
    return {"model_name": model.id, "engine": "0"}


class VllmSeries:
    """Counters and histograms, fed as sequences go by."""

    def __init__(self, registry: CollectorRegistry, model: EngineModel) -> None:
        self._registry = registry
        self._labels = _labels(model)
        lengths = _one_two_five(model.max_model_len)
        self._prompt_tokens = self._counter("prompt_tokens")
        self._generation_tokens = self._counter("generation_tokens")
        self._cache_queries = self._counter("prefix_cache_queries")
        self._cache_hits = self._counter("prefix_cache_hits")
        self._counter("num_preemptions")
        self._success = self._success_counters()
        self.first_token = self._histogram("time_to_first_token_seconds", _FIRST)
        self.inter_token = self._histogram("inter_token_latency_seconds", _EACH)
        self._per_token = self._histogram("request_time_per_output_token_seconds", _EACH)
        self._end_to_end = self._histogram("e2e_request_latency_seconds", _REQUEST)
        self._queue = self._histogram("request_queue_time_seconds", _REQUEST)
        self._inference = self._histogram("request_inference_time_seconds", _REQUEST)
        self._prefill = self._histogram("request_prefill_time_seconds", _REQUEST)
        self._decode = self._histogram("request_decode_time_seconds", _REQUEST)
        self._prompt_length = self._histogram("request_prompt_tokens", lengths)
        self._answer_length = self._histogram("request_generation_tokens", lengths)
        self._longest_answer = self._histogram("request_max_num_generation_tokens", lengths)
        self._asked_length = self._histogram("request_params_max_tokens", lengths)
        self._asked_choices = self._histogram("request_params_n", "1 2 5 10 20")

    def count(self, spec: SequenceSpec, finish: Finish, seconds: float) -> None:
        """Add one sequence that has ended, ``seconds`` after its admission."""
        timings, made = finish.timings, finish.completion_tokens - len(spec.generated)
        self._success[finish.reason].inc()
        self._prompt_tokens.inc(finish.prompt_tokens)
        self._generation_tokens.inc(made)
        self._cache_queries.inc(finish.prompt_tokens)
        self._cache_hits.inc(timings.cached_tokens)
        self._end_to_end.observe(seconds)
        self._queue.observe(timings.queue)
        self._inference.observe(timings.prefill + timings.decode)
        self._prefill.observe(timings.prefill)
        self._decode.observe(timings.decode)
        self._prompt_length.observe(finish.prompt_tokens)
        self._answer_length.observe(made)
        self._longest_answer.observe(made)
        # A stream is one sequence: n answers are n streams.
        self._asked_choices.observe(1)
        if spec.sampling.max_tokens is not None:
            self._asked_length.observe(spec.sampling.max_tokens)
        if made > 1:
            self._per_token.observe(timings.decode / (made - 1))

    def _counter(self, name: str) -> Counter:
        return Counter(
            f"vllm:{name}", f"vLLM's {name}.", list(self._labels), registry=self._registry
        ).labels(**self._labels)

    def _success_counters(self) -> dict[FinishReason, Counter]:
        labels = [*self._labels, "finished_reason"]
        family = Counter(
            "vllm:request_success", "Sequences ended.", labels, registry=self._registry
        )
        return {
            reason: family.labels(**self._labels, finished_reason=name)
            for reason, name in _REASONS.items()
        }

    def _histogram(self, name: str, bounds: str) -> Histogram:
        return Histogram(
            f"vllm:{name}",
            f"vLLM's {name}.",
            list(self._labels),
            registry=self._registry,
            buckets=[float(bound) for bound in bounds.split()],
        ).labels(**self._labels)


class VllmGauges(Collector):
    """Gauges, read from the engine at each scrape."""

    def __init__(self, model: EngineModel, stats: Callable[[], EngineStats]) -> None:
        self._model = model
        self._stats = stats

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges for a scrape."""
        stats = self._stats()
        yield self._gauge("num_requests_running", stats.slots_used)
        yield self._gauge("num_requests_waiting", stats.waiting)
        yield self._gauge("kv_cache_usage_perc", stats.slots_used / stats.slots_total)
        yield self._gauge(
            "cache_config_info",
            1,
            block_size=str(self._model.max_model_len),
            num_gpu_blocks=str(stats.slots_total),
        )
        yield self._gauge(
            "lora_requests_info",
            time.time(),
            max_lora=str(len(stats.adapters)),
            running_lora_adapters=",".join(adapter.name for adapter in stats.adapters),
            waiting_lora_adapters="",
        )

    def _gauge(self, name: str, value: float, **extra: str) -> GaugeMetricFamily:
        labels = {**_labels(self._model), **extra}
        family = GaugeMetricFamily(f"vllm:{name}", f"vLLM's {name}.", labels=list(labels))
        family.add_metric(list(labels.values()), value)
        return family


def _one_two_five(highest: int) -> str:
    """The series 1 2 5 10 20 50 ... up to ``highest``."""
    series = (digit * 10**power for power in range(len(str(highest))) for digit in (1, 2, 5))
    return " ".join(str(bound) for bound in series if bound <= highest)
