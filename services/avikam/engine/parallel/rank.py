"""What every rank sets up alike: the meeting, the model's part, the slots."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import torch

from avikam.engine.parallel.control import ControlChannel
from avikam.model.attention.choose import choose_backend
from avikam.model.attention.device_slots import DeviceSlots
from avikam.model.attention.float_slots import FloatSlots
from avikam.model.attention.int8_slots import Int8Slots
from avikam.model.attention.slots import SlotState
from avikam.model.checkpoint import Checkpoint
from avikam.model.config import ModelConfig
from avikam.model.loading import WeightType
from avikam.model.lora import Adapter, AppliedAdapter
from avikam.model.parallel.adapters import sharded_pair
from avikam.model.parallel.group import connect
from avikam.model.parallel.loading import build_shard
from avikam.model.parallel.shard import Sharding, shard_config


@dataclass(frozen=True, slots=True)
class RankSetup:
    """What a rank must know to begin; ``meeting`` is a file that all ranks of one engine share."""

    rank: int
    ranks: int
    model: str
    kind: WeightType
    device: str
    slots: int
    threads: int
    meeting: str = ""

    def to_json(self) -> bytes:
        """As one line, for another process."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: bytes) -> RankSetup:
        """From that line."""
        return cls(**orjson.loads(line))


class Rank:
    """One rank with everything it owns. Building it waits for the others."""

    def __init__(self, setup: RankSetup, checkpoint: Checkpoint) -> None:
        torch.set_num_threads(setup.threads)
        config = checkpoint.config
        self.setup = setup
        self.control = ControlChannel(Path(setup.meeting), setup.rank, setup.ranks)
        self.group = connect(Path(setup.meeting), setup.rank, setup.ranks, setup.device)
        self.model = build_shard(config, checkpoint.weights, setup.kind, setup.device, self.group)
        self.cache = self._slots(shard_config(config, setup.ranks))
        self._sharding = Sharding(config, setup.rank, setup.ranks)
        if setup.rank:
            del self.model.head  # only rank 0 asks for logits
        self.control.meet()

    @property
    def exact(self) -> bool:
        """Whether sums are integers, so that ranks agree with one rank bit for bit."""
        return self.setup.kind == "int8" and self.setup.device == "cpu"

    def apply(self, adapter: Adapter) -> AppliedAdapter:
        """This rank's part of an adapter."""
        pair = sharded_pair(self._sharding, self.group, exact=self.exact, device=self.setup.device)
        return AppliedAdapter(adapter, exact=self.exact, pair=pair)

    def _slots(self, config: ModelConfig) -> SlotState:
        if self.exact:
            return Int8Slots(config, self.setup.slots)
        dtype = torch.float32 if self.setup.kind == "float32" else torch.bfloat16
        slots, device = self.setup.slots, self.setup.device
        if device == "cpu":
            return FloatSlots(config, slots, device, dtype)
        heads = (config.num_heads, config.num_kv_heads)
        backend = choose_backend(device, dtype, heads, config.head_dim)
        return DeviceSlots(config, slots, device, dtype, backend)
