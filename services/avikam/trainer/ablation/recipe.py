"""How long and on what each variant is trained."""

from __future__ import annotations

from dataclasses import field

from avikam.trainer.ablation.variants import VARIANTS
from avikam.trainer.pretrain import PretrainConfig
from avikam.trainer.recipe import recipe


def _training() -> PretrainConfig:
    return PretrainConfig(
        steps=300,
        rows=8,
        length=1024,
        weights={"everyday-pairs": 0.4, "long-prose": 0.6},
        compile=False,
    )


@recipe
class AblationRecipe:
    """``training`` is one run; each of the ``variants`` is trained once per seed.

    The first seed's dense and FG models also pass ``avikam eval``, with at most ``items`` items of
    each set and all of the row as context (0 = they do not).
    """

    training: PretrainConfig = field(default_factory=_training)
    variants: tuple[str, ...] = VARIANTS
    seeds: tuple[int, ...] = (0, 1)
    valid_rows: int = 16
    items: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.variants) - set(VARIANTS))
        if unknown or not self.variants:
            raise ValueError(f"unknown variant {unknown[:1]}; known: {', '.join(VARIANTS)}")
