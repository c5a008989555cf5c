"""Which layers learn when: frozen below, released step by step, or chosen by their gradients."""

from __future__ import annotations

from dataclasses import dataclass, field

from avikam.trainer.finetuning.adapters import Adapters
from avikam.trainer.finetuning.recipe import FinetuneRecipe, Phase
from avikam.trainer.loss import every_nth_layer


def released_layers(phase: Phase, layers: int, share_done: float) -> frozenset[int]:
    """Layers that may learn once ``share_done`` of the phase is over.

    frozen 0.5, unfreeze 0.5, 6 layers:   0 %: 3 4 5    25 %: 2 3 4 5 (one of three released)
                                         50 %: 0 1 2 3 4 5
    """
    frozen = int(layers * phase.frozen)
    if phase.unfreeze > 0:
        frozen -= int(frozen * min(1.0, share_done / phase.unfreeze) + 1e-9)
    return frozenset(range(frozen, layers))


def recomputed_layers(recipe: FinetuneRecipe, layers: int) -> frozenset[int]:
    """Layers whose activations are computed a second time in the backward pass."""
    wrong = [layer for layer in recipe.recompute_layers if not 0 <= layer < layers]
    if wrong:
        raise ValueError(f"recompute_layers names {wrong[0]}; the model has 0..{layers - 1}")
    return frozenset(recipe.recompute_layers) or every_nth_layer(layers, recipe.recompute_every)


@dataclass(slots=True)
class LayerChoice:
    """The layers that learn now; with a budget, those with the largest gradient norms.

    A choosing step lets every released layer take part in the backward pass, ranks them and lets
    the gradients of the best ones through; until the next choice only these are computed.
    """

    recipe: FinetuneRecipe
    chosen: frozenset[int] = frozenset()
    norms: dict[int, float] = field(default_factory=dict)

    def before(self, adapters: Adapters, released: frozenset[int], step: int) -> None:
        """Decide what the backward pass of ``step`` computes."""
        adapters.train_layers(released if self._chooses(released, step) else self.chosen)

    def after(self, adapters: Adapters, released: frozenset[int], step: int) -> None:
        """Rank by the gradients of the backward pass and drop those of the rest."""
        if not self._chooses(released, step):
            return
        self.norms = {layer: adapters.gradient_norm(layer) for layer in sorted(released)}
        ranked = sorted(self.norms, key=lambda layer: self.norms[layer], reverse=True)
        budget = self.recipe.adapted_layers or len(ranked)
        self.chosen = frozenset(ranked[:budget])
        for layer in released - self.chosen:
            for factor in adapters.of_layer(layer):
                factor.grad = None

    def _chooses(self, released: frozenset[int], step: int) -> bool:
        budget = self.recipe.adapted_layers
        if not budget or budget >= len(released):
            return self.chosen != released
        return step % self.recipe.choose_every == 0 or not self.chosen <= released
