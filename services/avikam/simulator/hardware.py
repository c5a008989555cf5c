"""Service times of Avikam1-7b on GPUs: computed from the roofline, not measured.

A step reads all weights and the running sequences' KV, and multiplies once per token:

    step = max(bytes / (80 % of bandwidth), 2 * parameters * tokens / (55 % of int8 rate)) / engine

``engine`` is what a real engine reaches of that ideal. Prices are list prices per GPU and hour, an
assumption to replace by your own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PARAMETERS = 5.094e9
WEIGHT_BYTES = 5.09e9
# int8 keys and values of one token in all layers; a hybrid layer keeps 284 of them at most.
KV_BYTES_PER_TOKEN = 256 * 1024
KV_TOKENS = 284
BANDWIDTH_SHARE = 0.8
COMPUTE_SHARE = 0.55
ENGINE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Hardware:
    """One worker: one GPU, int8 weights."""

    name: str
    bandwidth: float  # bytes per second
    int8_rate: float  # operations per second
    slots: int
    startup_seconds: float
    dollars_per_hour: float

    def step_seconds(self, sequences: int, context: int) -> float:
        """Time of one decoding step."""
        kv = sequences * min(context, KV_TOKENS) * KV_BYTES_PER_TOKEN
        memory = (WEIGHT_BYTES + kv) / (self.bandwidth * BANDWIDTH_SHARE)
        return max(memory, self._compute(sequences)) / ENGINE_SHARE

    def prefill_seconds(self, tokens: int) -> float:
        """Time that a prompt takes from all sequences of the worker."""
        return self._compute(tokens) / ENGINE_SHARE

    def _compute(self, tokens: int) -> float:
        return 2 * PARAMETERS * tokens / (self.int8_rate * COMPUTE_SHARE)

    def requests_per_second(self, prompt: int, answer: int) -> float:
        """Requests that a worker with all slots taken completes."""
        step = self.step_seconds(self.slots, prompt + answer // 2)
        return self.slots / (answer * step + self.slots * self.prefill_seconds(prompt))


HARDWARE: Mapping[str, Hardware] = {
    hardware.name: hardware
    for hardware in (
        Hardware("a10g", 600e9, 140e12, 32, 120, 1.418),
        Hardware("a100", 1555e9, 624e12, 64, 150, 4.097),
        Hardware("h100", 3350e9, 1979e12, 128, 150, 6.88),
    )
}
