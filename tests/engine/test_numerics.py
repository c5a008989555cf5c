"""The word for what an answer's numbers depend on: the same where bits are, another where not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import avikam
from avikam.engine.build import EngineOptions, build_engine
from avikam.engine.numerics import code_digest
from avikam.model.loading import WeightType
from tests.model.builders import tiny_checkpoint


def numerics(folder: Path, weights: WeightType, *, native: bool = True) -> str:
    """Of an engine that was built so."""
    options = EngineOptions(folder, "cpu", weights, slots=2, threads=1, kv=None, native=native)
    engine = build_engine(options)
    try:
        return engine.model.numerics
    finally:
        engine.close()


def test_kinds_of_weights_and_of_kernels_have_words_of_their_own(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    words = [
        numerics(folder, "int8"),
        numerics(folder, "int8", native=False),
        numerics(folder, "float32"),
    ]

    assert len(set(words)) == len(words)
    assert numerics(folder, "int8") == words[0]


@pytest.mark.parametrize("changed", ["model/rotary.py", "model/native/step.c", "engine/sampler.py"])
def test_other_code_has_another_digest_and_code_that_computes_nothing_has_not(
    tmp_path: Path, changed: str
) -> None:
    root = Path(avikam.__file__).parent
    for name in ("model", "engine"):
        shutil.copytree(root / name, tmp_path / name)
    assert code_digest(tmp_path) == code_digest()

    (tmp_path / "engine" / "fake.py").write_text("# other\n")
    (tmp_path / "engine" / "notes.md").write_text("other\n")
    assert code_digest(tmp_path) == code_digest()

    (tmp_path / changed).write_text("// other\n")
    assert code_digest(tmp_path) != code_digest()
