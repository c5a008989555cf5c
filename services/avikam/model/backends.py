"""How weights of one type run on one device: the only place that compares types with devices.

type, device          products and embedding        slots                     step
int8, cpu             exact integers                native, else exact        native, else PyTorch
others, cpu           floats                        floats                    PyTorch
any, cuda             floats, int8 by kernels       floats, flash attention   PyTorch
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from avikam.model.attention.choose import choose_backend
from avikam.model.attention.device_slots import DeviceSlots
from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.slots import SlotState
from avikam.model.checkpoint import Checkpoint
from avikam.model.config import ModelConfig
from avikam.model.loading import WeightType, load_model, runs_exact
from avikam.model.lora import Adapter, AdapterError, AppliedAdapter
from avikam.model.native.model import NativeModel
from avikam.model.native.selftest import native_problem
from avikam.model.native.shape import unsupported, unsupported_slots
from avikam.model.native.slots import NativeSlots
from avikam.model.steps import StepModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backend:
    """Weights of ``kind`` on ``device``; ``native`` off keeps PyTorch where the library could."""

    kind: WeightType
    device: str = "cpu"
    native: bool = True

    @property
    def exact(self) -> bool:
        """Whether all sums are of integers, so that no result depends on its company."""
        return runs_exact(self.kind, self.device)

    @property
    def floats(self) -> torch.dtype:
        """The float type of activations, keys and values."""
        return torch.float32 if self.kind == "float32" else torch.bfloat16

    def native_problem(self, config: ModelConfig) -> str:
        """Why a step is not one native call; empty where it is."""
        if not (self.exact and self.native):
            return "only int8 weights on a CPU run natively"
        return unsupported_slots(config) or unsupported(config) or native_problem()

    def slots(self, config: ModelConfig, count: int) -> SlotState:
        """Room for ``count`` sequences. The log warns where it could have been native."""
        if self.device == "cuda":
            heads = (config.num_heads, config.num_kv_heads)
            calls = choose_backend(self.device, self.floats, heads, config.head_dim)
            return DeviceSlots(config, count, self.device, self.floats, calls)
        if not self.exact:
            return FloatSlots(config, count, self.device, self.floats)
        problem = (unsupported_slots(config) or native_problem()) if self.native else ""
        if problem:
            _log.warning("int8 steps run through PyTorch, several times slower: %s", problem)
        if self.native and not problem:
            return NativeSlots(config, count)
        return Int8Slots(config, count)

    def model(self, checkpoint: Checkpoint, slots: SlotState) -> StepModel:
        """The model in the form that fits :meth:`slots`."""
        if isinstance(slots, NativeSlots):
            problem = unsupported(checkpoint.config)
            if not problem:
                return NativeModel(checkpoint.config, checkpoint.weights, slots)
            _log.info("products run through PyTorch, attention natively: %s", problem)
        return load_model(checkpoint, self.kind, self.device)

    def adapter(self, adapter: Adapter, model: StepModel) -> AppliedAdapter:
        """An adapter's factors as products of the model's own kind.

        Raises :class:`AdapterError` for layers that the model's step leaves no way into.
        """
        closed = adapter.projections - getattr(model, "adapts", adapter.projections)
        if closed:
            raise AdapterError(
                f"{min(closed)} cannot be adapted in a native step yet; merge the adapter, or "
                "serve the model with weights=bfloat16"
            )
        return AppliedAdapter(adapter, exact=self.exact, device=self.device)

    def bytes_per_token(self, config: ModelConfig) -> int:
        """Keys and values that one more token takes in the layers that keep all of them."""
        full = config.layer_types.count("full")
        return full * config.num_kv_heads * self._entry_bytes(config)

    def fixed_bytes(self, config: ModelConfig) -> int:
        """Keys and values of the other layers, whatever the length of a sequence."""
        entries = sum(
            config.slot_length(layer)
            for layer, kind in enumerate(config.layer_types)
            if kind != "full"
        )
        return entries * config.num_kv_heads * self._entry_bytes(config)

    def _entry_bytes(self, config: ModelConfig) -> int:
        """One head's key and value: int8 with two scales, natively; else in the slots' floats."""
        size = config.head_dim
        if not self.exact:
            return 2 * size * self.floats.itemsize
        native = self.native and not (unsupported_slots(config) or native_problem())
        return 2 * size + 8 if native else 8 * size + 8
