"""``avikam train all``: every step from raw files to a measured model and an adapter, in a row.

    OUT/corpus  OUT/vocabulary  OUT/run  OUT/model  OUT/adapter  OUT/evaluation

Each step is that of its own command and goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from avikam.trainer.corpus import load_corpus
from avikam.trainer.evaluation.recipe import EvalRecipe
from avikam.trainer.evaluation.run import Evaluation, evaluate
from avikam.trainer.export.export import ExportPaths, ExportRecipe, export_checkpoint
from avikam.trainer.finetuning.command import FinetunePaths, finetune
from avikam.trainer.finetuning.recipe import FinetuneRecipe
from avikam.trainer.preparation.prepare import Preparation
from avikam.trainer.preparation.recipe import CorpusRecipe
from avikam.trainer.pretrain import PretrainConfig
from avikam.trainer.pretrain_command import PretrainPaths, pretrain
from avikam.trainer.progress import say
from avikam.trainer.recipe import recipe
from avikam.trainer.tokenizer_report import train_vocabularies


@recipe
class EverythingRecipe:
    """One section per step; ``vocabulary`` is the tokenizer's size."""

    vocabulary: int = 8000
    corpus: CorpusRecipe = field(default_factory=CorpusRecipe)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    export: ExportRecipe = field(default_factory=ExportRecipe)
    finetune: FinetuneRecipe = field(default_factory=FinetuneRecipe)
    eval: EvalRecipe = field(default_factory=EvalRecipe)


@dataclass(frozen=True, slots=True)
class Everything:
    """Where everything is read from and written to."""

    raw: Path
    out: Path
    recipe: EverythingRecipe
    evaluation: Path | None = None
    device: str = "auto"

    def run(self) -> str:
        """Make all of it; returns a line per step with its time."""
        steps: list[tuple[str, Callable[[], object]]] = [
            ("corpus", self._prepare),
            ("vocabulary", self._vocabulary),
            ("pretrain", self._pretrain),
            ("export", self._export),
            ("finetune", self._finetune),
            ("eval", self._evaluate),
        ]
        return "\n".join(_timed(name, step) for name, step in steps)

    @property
    def corpus(self) -> Path:
        """The prepared corpus."""
        return self.out / "corpus"

    @property
    def tokenizer(self) -> Path:
        """The vocabulary's file."""
        return self.out / "vocabulary" / f"tokenizer-{self.recipe.vocabulary}.model"

    @property
    def model(self) -> Path:
        """The exported checkpoint."""
        return self.out / "model"

    def _prepare(self) -> Path:
        return Preparation(self.raw, self.corpus, self.recipe.corpus, self.evaluation).run()

    def _vocabulary(self) -> Path:
        train, valid = load_corpus(self.corpus), load_corpus(self.corpus, "valid")
        train_vocabularies(train, valid, self.tokenizer.parent, [self.recipe.vocabulary])
        return self.tokenizer

    def _pretrain(self) -> str:
        paths = PretrainPaths(self.corpus, self.tokenizer, self.out / "run")
        return pretrain(paths, self.recipe.pretrain, self.device)

    def _export(self) -> str:
        paths = ExportPaths(self.out / "run" / "state.pt", self.tokenizer, self.corpus, self.model)
        return export_checkpoint(paths, self.recipe.export)

    def _finetune(self) -> str:
        if not load_corpus(self.corpus).chats:
            return "no conversations, no adapter"
        paths = FinetunePaths(self.model, self.corpus, self.out / "adapter")
        return finetune(paths, self.recipe.finetune, self.device)

    def _evaluate(self) -> Path:
        place = Evaluation(self.model, self.corpus, self.out / "evaluation")
        return evaluate(place, self.recipe.eval)


def _timed(name: str, step: Callable[[], object]) -> str:
    say(f"{name} ...")
    began = time.monotonic()
    made = step()
    return f"{name} ({time.monotonic() - began:.0f} s): {made}"
