"""How weights of one type run on one device: the only place that compares types with devices.

type, device          products and embedding        slots                     step
int8, cpu             exact integers                native, else exact        native, else PyTorch
int4, cpu             four bits, in a fixed order   native, else floats       native, else PyTorch
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
from avikam.model.native.library import load_library
from avikam.model.native.model import Bits, NativeModel
from avikam.model.native.selftest import native_problem
from avikam.model.native.shape import unsupported, unsupported_slots
from avikam.model.native.slots import NativeSlots
from avikam.model.steps import StepModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backend:
    """Weights of ``kind`` on ``device``; ``native`` off keeps PyTorch where the library could.

    ``level`` is the kind of processor that the library is built for; empty: the best there is.
    """

    kind: WeightType
    device: str = "cpu"
    native: bool = True
    level: str = ""

    @property
    def exact(self) -> bool:
        """Whether all sums are of integers, so that no result depends on its company."""
        return runs_exact(self.kind, self.device)

    @property
    def floats(self) -> torch.dtype:
        """The float type of activations, keys and values."""
        return torch.float32 if self.kind == "float32" else torch.bfloat16

    @property
    def _bits(self) -> Bits | None:
        """Of the weights in the library's form; none where it has no form for them."""
        forms: dict[str, Bits] = {"int8": 8, "int4": 4}
        return forms.get(self.kind) if self.device == "cpu" and self.native else None

    def native_problem(self, config: ModelConfig) -> str:
        """Why a step is not one native call; empty where it is."""
        if self._bits is None:
            return "only int8 and int4 weights on a CPU run natively"
        return unsupported(config, self._bits) or native_problem()

    def _slots_problem(self, config: ModelConfig) -> str:
        """Why slots are not native: int8 products through PyTorch may use them as well."""
        if self.exact and self.native:
            return unsupported_slots(config) or native_problem()
        return self.native_problem(config)

    def slots(self, config: ModelConfig, count: int) -> SlotState:
        """Room for ``count`` sequences. The log warns where it could have been native."""
        if self.device == "cuda":
            heads = (config.num_heads, config.num_kv_heads)
            calls = choose_backend(self.device, self.floats, heads, config.head_dim)
            return DeviceSlots(config, count, self.device, self.floats, calls)
        problem = self._slots_problem(config)
        if not problem:
            return NativeSlots(config, count, load_library(self.level))
        if self._bits is not None:
            _log.warning(
                "%s steps run through PyTorch, several times slower: %s", self.kind, problem
            )
        if self.exact:
            return Int8Slots(config, count)
        return FloatSlots(config, count, self.device, self.floats)

    def model(self, checkpoint: Checkpoint, slots: SlotState) -> StepModel:
        """The model in the form that fits :meth:`slots`."""
        if isinstance(slots, NativeSlots):
            problem = self.native_problem(checkpoint.config)
            if not problem and self._bits is not None:
                return NativeModel(checkpoint.config, checkpoint.weights, slots, self._bits)
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
        exact = self._bits is not None or self.exact
        return AppliedAdapter(adapter, exact=exact, device=self.device)

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
        if not self._slots_problem(config):
            return 2 * size + 8
        return 8 * size + 8 if self.exact else 2 * size * self.floats.itemsize
