"""The pipeline, run once for all of this folder's tests, each step by its own command."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.trainer.ahoy import RECIPE, ahoy
from tests.trainer.commands import avikam
from tests.trainer.toy import write_evaluation, write_jsonl, write_raw

PRETRAIN = {
    "model": "avikam1-test",
    "model_changes": {"window": 32, "stride": 8, "max_positions": 256},
    "steps": 150,
    "rows": 16,
    "length": 64,
    "compile": False,
    "precision": "float32",
    "iteration": "float32",
    "validate_every": 50,
    "rates": {"matrices": 0.02, "vectors": 0.005},
    "weights": {"everyday-pairs": 0.7, "prose": 0.05, "chat": 0.2, "arithmetic": 0.05},
}


@dataclass(frozen=True)
class Pipeline:
    """What the steps left behind."""

    root: Path
    raw: Path
    evaluation: Path
    corpus: Path
    tokenizer: Path
    run: Path
    model: Path

    def recipe(self, name: str, values: object) -> Path:
        """Write a YAML recipe."""
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw text and, beside it, evaluation sets."""
    root = tmp_path_factory.mktemp("raw")
    write_raw(root / "raw")
    write_evaluation(root / "eval")
    return root


@pytest.fixture(scope="session")
def pipeline(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Corpus, vocabulary, pretraining and export, by the commands a user types."""
    root = tmp_path_factory.mktemp("pipeline")
    made = Pipeline(
        root=root,
        raw=raw / "raw",
        evaluation=raw / "eval",
        corpus=root / "corpus",
        tokenizer=root / "vocabulary" / "tokenizer-420.model",
        run=root / "run",
        model=root / "model",
    )
    avikam("train", "corpus", made.raw, made.corpus, "--evaluation", made.evaluation)
    avikam("train", "tokenizer", made.corpus, root / "vocabulary", "--size", "420")
    recipe = made.recipe("pretrain", PRETRAIN)
    avikam(
        "train", "pretrain", made.corpus, made.run, "--tokenizer", made.tokenizer,
        "--recipe", recipe, "--device", "cpu", "--track", root / "mlruns",
    )  # fmt: skip
    avikam(
        "train", "export", made.run / "state.pt", made.model, "--tokenizer", made.tokenizer,
        "--data", made.corpus, "--track", root / "mlruns",
    )  # fmt: skip
    return made


@pytest.fixture(scope="session")
def greetings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations of a sailor to fine-tune on."""
    folder = tmp_path_factory.mktemp("greetings")
    rng = random.Random(0)
    write_jsonl(folder / "train.jsonl", (ahoy(rng) for _ in range(160)))
    write_jsonl(folder / "valid.jsonl.gz", (ahoy(rng) for _ in range(20)))
    return folder


@pytest.fixture(scope="session")
def adapter(pipeline: Pipeline, greetings: Path) -> Path:
    """The adapter that two phases on them give."""
    out = pipeline.root / "ahoy"
    avikam(
        "train", "finetune", pipeline.model, greetings, out,
        "--recipe", pipeline.recipe("finetune", RECIPE), "--device", "cpu",
    )  # fmt: skip
    return out
