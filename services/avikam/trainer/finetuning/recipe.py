"""The two-phase LoRA recipe; the defaults are the specification's."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from avikam.trainer.precision import Wanted
from avikam.trainer.recipe import recipe


@recipe
class Phase:
    """One phase: ``epochs`` over the data at peak ``rate``, falling to ``minimum_rate``.

    ``frozen`` is the share of layers, from the bottom, whose adapters do not train. With
    ``unfreeze`` they are released one by one, the highest first, over that share of the phase.
    """

    epochs: int
    rate: float
    batch: int
    warmup: float
    frozen: float = 0.0
    unfreeze: float = 0.0
    minimum_rate: float = 0.0

    def __post_init__(self) -> None:
        for name in ("warmup", "frozen", "unfreeze"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must lie in 0..1")


def _phases() -> tuple[Phase, ...]:
    return (
        Phase(epochs=3, rate=5e-5, batch=64, warmup=0.10, frozen=0.5),
        Phase(epochs=2, rate=1e-5, batch=32, warmup=0.05, frozen=0.5, unfreeze=0.5),
    )


@recipe
class FinetuneRecipe:
    """One adapter.

    The loss is cross-entropy + ``l1`` * KL(uniform || model) + ``l2`` * the 2-norm of all adapter
    weights. ``adapted_layers`` > 0 trains only that many layers at a time: those with the largest
    gradient norm, chosen anew every ``choose_every`` steps. ``dropout`` is where the adaptive
    dropout starts. ``recompute_every`` checkpoints the gradients of every n-th layer,
    ``recompute_layers`` those of the layers it names (from 0) instead.
    ``base_weights``: ``float32``, ``int8`` (frozen, one scale per row, any device) or
    ``bitsandbytes`` (LLM.int8). ``steps`` shortens all phases alike to so many in all (0 = by their
    epochs), ``minutes`` ends the run. ``valid`` is the share of rows held out where there is no
    validation file. ``precision``: as in pretraining; off a terminal every ``log_every``-th step
    prints a line.
    """

    rank: int = 64
    alpha: float = 128.0
    phases: tuple[Phase, ...] = field(default_factory=_phases)
    l1: float = 0.0
    l2: float = 0.0
    decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip: float = 1.0
    dropout: float = 0.1
    adaptive_dropout: bool = True
    adapted_layers: int = 0
    choose_every: int = 50
    recompute_every: int = 8
    recompute_layers: tuple[int, ...] = ()
    base_weights: Literal["float32", "int8", "bitsandbytes"] = "float32"
    precision: Wanted = "auto"
    steps: int = 0
    minutes: float | None = None
    valid: float = 0.05
    log_every: int = 10
    micro_batch: int = 16
    length: int = 256
    validate_every: int = 50
    validation_examples: int = 256
    checkpoint_seconds: float = 120.0
    seed: int = 0
