"""``avikam model``: describe, verify and create checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from avikam.cli.main import app
from avikam.model.checkpoint import load_checkpoint, verify_checkpoint
from avikam.model.config import ModelConfig, preset
from avikam.model.loading import load_model
from avikam.model.tokenizer import Tokenizer
from avikam.worker.settings import embedded_model

TOKENIZER = embedded_model() / "tokenizer.model"
SMALL = preset("avikam1-test").with_changes(vocab_size=Tokenizer(TOKENIZER).vocab_size + 5)


def avikam_model(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["model", *map(str, arguments)])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.json"
    path.write_text(SMALL.to_json())
    return path


@pytest.fixture
def folder(tmp_path: Path, config: Path) -> Path:
    folder = tmp_path / "checkpoint"
    assert avikam_model("init", folder, "--config", config, "--random").exit_code == 0
    return folder


@pytest.mark.parametrize("weights", ["int8", "bfloat16", "float32"])
@pytest.mark.parametrize("kind", ["--random", "--dummy"])
def test_an_untrained_checkpoint_is_whole_and_loads(
    kind: str, weights: str, tmp_path: Path, config: Path
) -> None:
    folder = tmp_path / "new"
    made = avikam_model("init", folder, "--config", config, kind, "--weights", weights)
    assert f"{SMALL.parameter_count():,} parameters" in made.output
    assert verify_checkpoint(folder) == []
    checkpoint = load_checkpoint(folder)
    assert checkpoint.stored_type == weights
    assert load_model(checkpoint).config == SMALL


def test_random_weights_follow_their_seed(tmp_path: Path, config: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        avikam_model("init", tmp_path / name, "--config", config, "--seed", str(seed))
        digests.append((tmp_path / name / "model.safetensors").read_bytes())
    assert digests[0] == digests[1] != digests[2]


def test_a_dummy_takes_no_room_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "dummy"
    assert avikam_model("init", folder, "--config", "avikam1-nano", "--dummy").exit_code == 0
    weights = (folder / "model.safetensors").stat()
    assert weights.st_size > 10e6
    assert weights.st_blocks * 512 < weights.st_size / 10


def test_every_id_of_the_model_has_a_piece(folder: Path) -> None:
    tokenizer = Tokenizer(folder / "tokenizer.model")
    assert tokenizer.vocab_size == SMALL.vocab_size
    text = "Déjà vu, naïve café"
    assert tokenizer.encode(text) == Tokenizer(TOKENIZER).encode(text)


def test_a_tokenizer_that_is_too_big_is_refused(tmp_path: Path) -> None:
    result = avikam_model("init", tmp_path / "new", "--config", "avikam1-test")
    assert result.exit_code == 2
    assert "choose another tokenizer" in result.stderr


def test_an_existing_folder_is_never_written_over(folder: Path) -> None:
    result = avikam_model("init", folder)
    assert (result.exit_code, result.stderr) == (
        2,
        f"error: {folder} exists already; choose another folder\n",
    )


def test_show_describes_the_embedded_model_and_any_folder(folder: Path) -> None:
    assert "avikam1-nano" in avikam_model("show").output
    shown = json.loads(avikam_model("show", folder, "--json").output)
    assert shown["parameters"] == SMALL.parameter_count()
    assert ModelConfig.from_dict(shown["config"]) == SMALL
    assert f"  {'head_size':22} {SMALL.head_dim}\n" in avikam_model("show", folder).output


def test_verify_says_what_is_wrong(folder: Path) -> None:
    assert avikam_model("verify", folder).exit_code == 0
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    result = avikam_model("verify", folder)
    assert result.exit_code == 1
    assert "model.safetensors is corrupt" in result.stderr
    assert avikam_model("show", folder).exit_code == 2


@pytest.mark.parametrize("action", ["show", "verify"])
def test_a_missing_folder_is_one_line(action: str, tmp_path: Path) -> None:
    result = avikam_model(action, tmp_path / "none")
    assert result.exit_code != 0
    assert "the folder does not exist" in result.stderr
    assert result.stderr.count("\n") == 1
