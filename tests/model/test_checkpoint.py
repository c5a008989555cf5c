"""Checkpoint folders: what is written is read, what is damaged is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avikam.model.bitsandbytes_linear import bitsandbytes_problem
from avikam.model.checkpoint import (
    CheckpointError,
    describe_checkpoint,
    load_checkpoint,
    verify_checkpoint,
    write_checkpoint,
)
from avikam.model.config import ConfigError, ModelConfig, preset
from avikam.model.linear import OneDnnInt8, PortableInt8, onednn_problem
from avikam.model.loading import WeightType, load_model
from avikam.model.manifest import write_manifest
from avikam.model.quantize import dequantize_rows, float_state, quantize_rows, quantize_state
from avikam.model.transformer import Avikam1
from tests.model.builders import random_weights, small_config, tiny_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "model")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    weights = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        weights.pop(name, None)
        if tensor is not None:
            weights[name] = tensor
    save_file(weights, folder / "model.safetensors")
    write_manifest(folder)


def drop_weight(folder: Path) -> None:
    edit_weights(folder, **{"norm.weight": None})


def reshape_weight(folder: Path) -> None:
    edit_weights(folder, **{"norm.weight": torch.ones(3)})


def add_weight(folder: Path) -> None:
    edit_weights(folder, evil=torch.ones(1))


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    write_manifest(folder)


def test_a_written_checkpoint_verifies_and_reads_back(folder: Path) -> None:
    assert verify_checkpoint(folder) == []
    checkpoint = load_checkpoint(folder)
    expected = quantize_state(random_weights(checkpoint.config))
    assert checkpoint.weights.keys() == expected.keys()
    assert all(torch.equal(checkpoint.weights[name], expected[name]) for name in expected)
    assert checkpoint.stored_type == "int8"
    shown = describe_checkpoint(folder)
    assert shown["parameters"] == checkpoint.config.parameter_count()
    assert len(checkpoint.digest) == 64


def test_the_parameter_count_is_the_modules(folder: Path) -> None:
    mixture = {"num_experts": 4, "active_experts": 2, "feed_forward": "swiglu"}
    for changes in ({}, {"feed_forward": "swiglu"}, {"tie_embeddings": False}, mixture):
        config = small_config(num_kv_heads=4, num_heads=8, **changes)
        assert config.parameter_count() == sum(p.numel() for p in Avikam1(config).parameters())
    assert preset("avikam1-7b").parameter_count() == 5_094_248_448


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "tokenizer.model").unlink(), "tokenizer.model is missing"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is unreadable"),
        (lambda f: flip_a_bit(f / "model.safetensors"), "model.safetensors is corrupt"),
        (lambda f: (f / "config.json").write_text("{}"), "config.json is corrupt"),
        (drop_weight, "weight norm.weight is missing"),
        (reshape_weight, "weight norm.weight has shape (3,), needs (64,)"),
        (add_weight, "unknown weight evil"),
        (truncate, "is not a safetensors file"),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], object], complaint: str) -> None:
    damage(folder)
    assert any(complaint in problem for problem in verify_checkpoint(folder))
    with pytest.raises(CheckpointError, match="checkpoint "):
        load_checkpoint(folder)


def test_a_manifest_cannot_point_outside_the_folder(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../secret"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert any("../secret" in problem for problem in verify_checkpoint(folder))


def test_a_cut_off_write_never_verifies(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    config = small_config()
    with pytest.raises(AttributeError):
        write_checkpoint(folder, config, {"embed.weight": None}, b"")  # type: ignore[dict-item]
    assert verify_checkpoint(folder) == ["manifest.json is missing"]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"num_heads": 5}, "hidden_size 4096 is not a multiple of num_heads 5"),
        ({"window": 100}, "window 100 is not a multiple of stride 64"),
        ({"layer_types": ["hybrid"]}, "layer_types names 1 layers"),
        ({"layer_types": ["odd"] * 32}, "unknown layer type 'odd'"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"hiden_size": 1}, "unknown model config key 'hiden_size'"),
        ({"feed_forward": "relu"}, "unknown feed_forward 'relu'"),
        ({"num_experts": 4, "active_experts": 5}, "active_experts 5 is more than num_experts 4"),
        ({"num_experts": 0}, "num_experts is 0"),
    ],
)
def test_impossible_configs_are_refused(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        ModelConfig.from_dict(values)


def test_int8_rows_are_within_half_a_step() -> None:
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    codes, scale = quantize_rows(weight)
    error = (dequantize_rows(codes, scale) - weight).abs()
    assert bool((error <= scale.unsqueeze(1) / 2 + 1e-7).all())


@pytest.mark.skipif(bool(onednn_problem()), reason="oneDNN's int8 product is not exact here")
@pytest.mark.parametrize("width", [64, 384, 4096])
def test_both_int8_products_agree_and_ignore_the_rows_beside(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-127, 128, (96, width), generator=generator, dtype=torch.int8)
    scale = torch.rand(96, generator=generator)
    x = torch.randn(33, width, generator=generator) * 5
    fast, portable = OneDnnInt8(codes, scale), PortableInt8(codes, scale)
    together = fast(x)
    assert torch.allclose(together, portable(x), rtol=1e-6, atol=1e-4)
    assert torch.equal(together, torch.cat([fast(row) for row in x.split(1)]))


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8", "int4", "llm-int8", "nf4"])
def test_every_weight_type_loads(folder: Path, kind: WeightType) -> None:
    checkpoint = load_checkpoint(folder)
    if kind in ("llm-int8", "nf4") and bitsandbytes_problem():
        pytest.skip(bitsandbytes_problem())
    model = load_model(checkpoint, kind)
    out = model.embed(torch.tensor([5]))
    expected = float_state(checkpoint.weights)["embed.weight"][5:6]
    assert torch.allclose(out.float(), expected, atol=1e-2)


def test_an_unknown_weight_type_is_refused_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="unknown weight type 'int3'; use one of auto, int8"):
        load_model(load_checkpoint(folder), "int3")  # type: ignore[arg-type]
