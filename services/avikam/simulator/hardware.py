"""Service times of Avikam1-7b on GPUs: computed from the roofline, not measured.

A step reads all weights and the running sequences' KV, and multiplies once per token:

    step = max(bytes / (80 % of bandwidth), 2 * parameters * tokens / (55 % of int8 rate)) / engine

``engine`` is what a real engine reaches of that ideal. A worker of several GPUs shares weights,
slots and products among them and adds two sums over all GPUs per layer:

    sum = latency + 2 * (gpus - 1) / gpus * bytes of the hidden states / link

Prices are list prices per GPU and hour, links what all-reduce reaches over PCIe or NVLink:
assumptions to replace by your own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

PARAMETERS = 5.094e9
WEIGHT_BYTES = 5.09e9
# int8 keys and values of one token in all layers; a hybrid layer keeps 284 of them at most.
KV_BYTES_PER_TOKEN = 256 * 1024
KV_TOKENS = 284
LAYERS = 32
# bfloat16 hidden states of one token.
HIDDEN_BYTES = 2 * 4096
BANDWIDTH_SHARE = 0.8
COMPUTE_SHARE = 0.55
ENGINE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Hardware:
    """One worker: int8 weights on one GPU, or shared among several (tensor parallelism).

    Bandwidth, rate and price are each GPU's.
    """

    name: str
    bandwidth: float  # bytes per second
    int8_rate: float  # operations per second
    slots: int
    startup_seconds: float
    gpu_dollars_per_hour: float
    gpus: int = 1
    link: float = 1.0  # bytes per second between GPUs
    latency: float = 0.0  # seconds of one sum over the GPUs

    @property
    def basis(self) -> str:
        """Where the service times come from."""
        return "computed from the roofline, not measured"

    @property
    def dollars_per_hour(self) -> float:
        """What the worker costs."""
        return self.gpus * self.gpu_dollars_per_hour

    def step_seconds(self, sequences: int, context: int) -> float:
        """Time of one decoding step."""
        kv = sequences * min(context, KV_TOKENS) * KV_BYTES_PER_TOKEN
        memory = (WEIGHT_BYTES + kv) / (self.gpus * self.bandwidth * BANDWIDTH_SHARE)
        return max(memory, self._compute(sequences)) / ENGINE_SHARE + self._sums(sequences)

    def prefill_seconds(self, tokens: int) -> float:
        """Time that a prompt takes from all sequences of the worker."""
        return self._compute(tokens) / ENGINE_SHARE + self._sums(tokens)

    def _compute(self, tokens: int) -> float:
        return 2 * PARAMETERS * tokens / (self.gpus * self.int8_rate * COMPUTE_SHARE)

    def _sums(self, tokens: int) -> float:
        """Time in which the GPUs agree on the hidden states: twice per layer."""
        if self.gpus == 1:
            return 0.0
        moved = 2 * (self.gpus - 1) / self.gpus * tokens * HIDDEN_BYTES
        return 2 * LAYERS * (self.latency + moved / self.link)

    def workers_for(self, rate: float, prompt: int, answer: int) -> int:
        """Workers whose slots carry so many requests per second, all of them taken."""
        return math.ceil(rate / self.requests_per_second(prompt, answer))

    def requests_per_second(self, prompt: int, answer: int) -> float:
        """Requests that a worker with all slots taken completes."""
        step = self.step_seconds(self.slots, prompt + answer // 2)
        return self.slots / (answer * step + self.slots * self.prefill_seconds(prompt))


HARDWARE: Mapping[str, Hardware] = {
    hardware.name: hardware
    for hardware in (
        Hardware("a10g", 600e9, 140e12, 128, 120, 1.418, gpus=4, link=20e9, latency=30e-6),
        Hardware("a10g-single", 600e9, 140e12, 32, 120, 1.418),
        Hardware("a100", 1555e9, 624e12, 128, 150, 4.097, gpus=2, link=200e9, latency=15e-6),
        Hardware("a100-single", 1555e9, 624e12, 64, 150, 4.097),
        Hardware("h100", 3350e9, 1979e12, 128, 150, 6.88),
    )
}
