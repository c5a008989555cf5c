"""Service times that were measured: what ``avikam bench engine`` wrote, in the roofline's place."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, fields
from pathlib import Path

from avikam.simulator.hardware import Hardware


class MeasurementError(ValueError):
    """A file that holds no measurement of an engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredHardware(Hardware):
    """A worker whose steps were timed; slots, start-up and price are the profile's.

    Between two measured numbers of streams a step's time is interpolated; beyond the last, every
    further stream takes its share of that step.
    """

    source: str
    steps: tuple[tuple[int, float], ...]  # streams, seconds of one step; ascending
    prefill_rate: float  # prompt tokens per second

    @property
    def basis(self) -> str:
        """What its figures rest on, for reports."""
        return f"measured steps and prefill: {self.source}"

    def step_seconds(self, sequences: int, context: int) -> float:
        """Time of one decoding step; the context was that of the measurement."""
        at = bisect_left(self.steps, (sequences, 0.0))
        if at == len(self.steps):
            streams, seconds = self.steps[-1]
            return seconds * sequences / streams
        streams, seconds = self.steps[at]
        if at == 0:
            return seconds
        before, earlier = self.steps[at - 1]
        return earlier + (seconds - earlier) * (sequences - before) / (streams - before)

    def prefill_seconds(self, tokens: int) -> float:
        """Time that a prompt takes from all sequences of the worker."""
        return tokens / self.prefill_rate


def measured(profile: Hardware, file: Path) -> MeasuredHardware:
    """``profile`` with the times of a measurement; raises :class:`MeasurementError`."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        rates = {int(streams): float(rate) for streams, rate in content["decode"].items()}
        prefill = float(content["prefill_256"])
    except OSError as error:
        raise MeasurementError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise MeasurementError(
            f"{file} is no measurement of an engine; `avikam bench engine --out FILE` writes one"
        ) from None
    if not rates or min(*rates.values(), *rates, prefill) <= 0:
        raise MeasurementError(f"{file} has streams or rates that are not above 0")
    steps = tuple((streams, streams / rate) for streams, rate in sorted(rates.items()))
    own = {field.name: getattr(profile, field.name) for field in fields(Hardware)}
    return MeasuredHardware(**own, source=file.name, steps=steps, prefill_rate=prefill)
