"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685) on every linear layer of a block.

    y += (x A^T) B^T * scale        A [r, in], B [out, r], scale = alpha / r (or alpha / sqrt(r))

:mod:`avikam.model.lora_files` reads them from PEFT's folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from avikam.model.config import ModelConfig
from avikam.model.linear import FloatLinear, int8_linear
from avikam.model.quantize import quantize_rows
from avikam.model.transformer import Adapt

IN_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
IN_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
PROJECTIONS = IN_ATTENTION + IN_FEED_FORWARD


class AdapterError(ValueError):
    """An adapter folder that cannot be applied; the message names what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """Factors by (layer, projection); ``b`` has the scale inside. ``digest`` is its identity."""

    factors: Mapping[tuple[int, str], tuple[Tensor, Tensor]]
    digest: str

    @property
    def bytes(self) -> int:
        return sum(a.nbytes + b.nbytes for a, b in self.factors.values())

    @property
    def projections(self) -> frozenset[str]:
        """The kinds of layers that it changes."""
        return frozenset(projection for _, projection in self.factors)


def factor_sizes(config: ModelConfig, projection: str) -> tuple[int, int]:
    """(inputs, outputs) of a projection, in the source's own unfused form.

    Raises :class:`AdapterError` for one that the model does not have.
    """
    h, inner, kv = config.hidden_size, config.intermediate_size, config.num_kv_heads
    sizes = {
        "q_proj": (h, config.mixed_size),
        "k_proj": (h, kv * config.head_dim),
        "v_proj": (h, kv * config.head_dim),
        "o_proj": (config.mixed_size, h),
    }
    if config.num_experts == 1:
        sizes |= {"up_proj": (h, inner), "down_proj": (inner, h)}
        sizes |= {"gate_proj": (h, inner)} if config.gated else {}
    if projection not in sizes:
        raise AdapterError(f"the model has no {projection}; it has {', '.join(sizes)}")
    return sizes[projection]


MakePair = Callable[[str, Tensor, Tensor], tuple[nn.Module, nn.Module]]
"""(projection, A, B) -> their products; a rank of a sharded model makes its own."""


class AppliedAdapter(nn.Module):
    """An adapter's factors as products of the model's own kind.

    With an int8 model the factors are int8 too: their sums are exact, so an adapted row still
    does not depend on the rows beside it.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        exact: bool,
        device: str = "cpu",
        pair: MakePair | None = None,
    ) -> None:
        super().__init__()
        self.digest = adapter.digest
        self.bytes = adapter.bytes

        def product(weight: Tensor) -> nn.Module:
            return int8_linear(*quantize_rows(weight)) if exact else FloatLinear(weight.to(device))

        def whole(projection: str, a: Tensor, b: Tensor) -> tuple[nn.Module, nn.Module]:
            return product(a), product(b)

        make = pair or whole
        self._products = {key: make(key[1], a, b) for key, (a, b) in adapter.factors.items()}

    def delta(self, layer: int, projection: str, x: Tensor) -> Tensor | None:
        """What the adapter adds to ``projection`` of ``layer``; none where it adds nothing."""
        pair = self._products.get((layer, projection))
        return None if pair is None else pair[1](pair[0](x.float()))


def adapt_rows(groups: list[tuple[AppliedAdapter, Tensor]]) -> Adapt:
    """Many adapters in one batch: each adds to its own rows (indices), the rest stay untouched."""

    def adapt(layer: int, projection: str, x: Tensor, out: Tensor) -> Tensor:
        for adapter, rows in groups:
            delta = adapter.delta(layer, projection, x[rows])
            if delta is not None:
                out = out.index_add(0, rows, delta.to(out.dtype))
        return out

    return adapt
