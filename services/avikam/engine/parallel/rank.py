"""What every rank sets up alike: the meeting, the model's part, the slots."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import torch

from avikam.engine.parallel.control import ControlChannel
from avikam.model.attention.slots import SlotState
from avikam.model.backends import Backend
from avikam.model.checkpoint import Checkpoint
from avikam.model.config import ModelConfig
from avikam.model.loading import WeightType, runs_exact
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
        return runs_exact(self.setup.kind, self.setup.device)

    def apply(self, adapter: Adapter) -> AppliedAdapter:
        """This rank's part of an adapter."""
        pair = sharded_pair(self._sharding, self.group, exact=self.exact, device=self.setup.device)
        return AppliedAdapter(adapter, exact=self.exact, pair=pair)

    def _slots(self, config: ModelConfig) -> SlotState:
        """Not native: the ranks' sums lie between the parts of a layer."""
        backend = Backend(self.setup.kind, self.setup.device, native=False)
        return backend.slots(config, self.setup.slots)
