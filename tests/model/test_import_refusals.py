"""Checkpoints with one thing wrong each: one clear line, and nothing written."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from avikam.model.checkpoint import load_checkpoint, verify_checkpoint
from avikam.model.imports.plan import plan_import
from avikam.model.imports.resolve import resolve_model
from avikam.model.imports.write import write_import
from avikam.model.sources.open_source import open_source
from avikam.model.sources.source import SourceError
from tests.model.foreign import edit_config, random_model, write_folder

Q = "model.layers.0.self_attn.q_proj.weight"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharded Llama that is served."""
    folder = tmp_path_factory.mktemp("whole") / "tiny"
    return write_folder(folder, random_model("llama"), shard="100KB")


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVIKAM_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(whole, tmp_path / "model")


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def shard_of(folder: Path, tensor: str = Q) -> Path:
    return folder / str(json.loads((folder / INDEX).read_text())["weight_map"][tensor])


def edit_tensor(
    folder: Path, change: Callable[[torch.Tensor], torch.Tensor], name: str = Q
) -> None:
    path = shard_of(folder, name)
    tensors = load_file(path)
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, path, metadata={"format": "pt"})


def spoil(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor[3, 5] = value
    return tensor


def place(folder: Path, tensor: str, file: str) -> None:
    edit_json(folder / INDEX, lambda index: index["weight_map"].update({tensor: file}))


def only_a_pickle(folder: Path) -> None:
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def extra_tensor(folder: Path) -> None:
    path = shard_of(folder)
    tensors = load_file(path) | {"model.layers.0.mlp.gate.weight": torch.ones(2, 2)}
    save_file(tensors, path, metadata={"format": "pt"})
    place(folder, "model.layers.0.mlp.gate.weight", path.name)


def foreign_tensor(folder: Path) -> None:
    path = shard_of(folder)
    save_file(load_file(path) | {"stowaway": torch.ones(1)}, path, metadata={"format": "pt"})


def truncate(folder: Path) -> None:
    path = shard_of(folder)
    path.write_bytes(path.read_bytes()[:-100])


def lying_header(folder: Path) -> None:
    path = shard_of(folder)
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])


def another_head(folder: Path) -> None:
    edit_config(folder, tie_word_embeddings=True)


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit_config(folder, **changes)


def words(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(
        folder / "tokenizer_config.json", lambda told: told.update(changes)
    )


def tokenizer(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "tokenizer.json", lambda told: told.update(changes))


def small_vocabulary(folder: Path) -> None:
    edit_config(folder, vocab_size=64)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        edit_tensor(folder, lambda t: t[:64], name)


def nothing_that_ends(folder: Path) -> None:
    edit_config(folder, eos_token_id=...)
    words(eos_token=None, chat_template=None)(folder)
    (folder / "generation_config.json").unlink()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing shard": (lambda f: shard_of(f).unlink(), "is missing; model.safetensors.index"),
    "a shard outside": (lambda f: place(f, Q, "../secret.safetensors"), "outside the folder"),
    "a shard at the root": (lambda f: place(f, Q, "/etc/passwd"), "outside the folder"),
    "a shard that is the folder": (lambda f: place(f, Q, ".."), "outside the folder"),
    "a tensor in no shard": (lambda f: place(f, "lost", shard_of(f).name), "lacks the tensor lost"),
    "a foreign tensor": (foreign_tensor, "holds the tensor stowaway"),
    "a tensor too many": (extra_tensor, "mlp.gate.weight is not known"),
    "a truncated shard": (truncate, "is not a whole safetensors file"),
    "a header that lies": (lying_header, "is not a whole safetensors file"),
    "an index without a map": (lambda f: (f / INDEX).write_text("{}"), "has no weight_map"),
    "an index that is a list": (lambda f: (f / INDEX).write_text("[1]"), "must hold an object"),
    "only a pickle": (only_a_pickle, "pytorch_model.bin is there, a pickle"),
    "a transposed tensor": (
        lambda f: edit_tensor(f, lambda t: t.T, "model.layers.0.mlp.down_proj.weight"),
        "it is transposed",
    ),
    "another shape": (lambda f: edit_tensor(f, lambda t: t[:-1]), r"has shape \[47, 48\], needs"),
    "integers": (lambda f: edit_tensor(f, lambda t: t.to(torch.int8)), "is I8, not floats"),
    "not a number": (lambda f: edit_tensor(f, lambda t: spoil(t, float("nan"))), "holds NaN"),
    "infinite": (lambda f: edit_tensor(f, lambda t: spoil(t, float("inf"))), "infinite numbers"),
    "a head beside tied embeddings": (another_head, "lm_head.weight differs from the embeddings"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "a config that is no JSON": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "a config nested without end": (
        lambda f: (f / "config.json").write_text("[" * 99_999), "is not JSON"
    ),
    "a size in words": (config(hidden_size="48"), "hidden_size is '48', must be a whole number"),
    "a size that is true": (config(num_hidden_layers=True), "num_hidden_layers is True"),
    "an absurd size": (config(vocab_size=10**15), "vocab_size is 1000000000000000"),
    "a negative size": (config(intermediate_size=-80), "intermediate_size is -80"),
    "a fraction": (config(hidden_size=48.5), "hidden_size is 48.5"),
    "no size": (config(hidden_size=...), "hidden_size is None"),
    "heads that do not divide": (config(num_key_value_heads=4), "must divide num_attention_heads"),
    "an unknown rope": (
        config(rope_parameters={"rope_type": "longrope", "rope_theta": 1e4}), "scaling 'longrope'"
    ),
    "a rope without numbers": (
        config(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4}), "factor is None"
    ),
    "an epsilon of nothing": (config(rms_norm_eps=0), "rms_norm_eps is 0"),
    "an activation": (config(hidden_act="relu"), "only 'silu' is served"),
    "a key that nobody knows": (config(logits_multiplier=2.5), "logits_multiplier=2.5 is not"),
    "another architecture": (config(architectures=["BertForMaskedLM"]), "BertForMaskedLM is not"),
    "an encoder": (config(is_encoder_decoder=True), "is_encoder_decoder is True"),
    "no architecture": (config(architectures=...), "architectures is None"),
    "a type that does not fit": (config(model_type="qwen2"), "model_type is 'qwen2'"),
    "code of its own": (config(auto_map={"AutoModel": "evil.Model"}), "code of its own"),
    "another tool's numbers": (
        config(quantization_config={"quant_method": "gptq"}), "quantised by gptq"
    ),
    "a quantisation in words": (config(quantization_config="awq"), "quantised by"),
    "a small vocabulary": (
        small_vocabulary,
        "the model 64",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "neither tokenizer.json nor"),
    "a tokenizer that is none": (tokenizer(model={"type": "magic"}), "cannot be read"),
    "a decoder that is not known": (
        tokenizer(decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}),
        "decoder step 'WordPiece'",
    ),
    "no decoder": (tokenizer(decoder=None), "has no decoder"),
    "no end": (
        nothing_that_ends,
        "no file names a token that ends",
    ),
    "an end in words": (config(eos_token_id="</s>"), "eos_token_id '</s>' is no token id"),
    "a template that is no Jinja": (words(chat_template="{% for %}"), "is not Jinja"),
    "a template that is a number": (words(chat_template=7), "chat_template is no text"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_one_line_says_what_is_wrong_and_nothing_is_left(wrong: str, folder: Path) -> None:
    damage, words = WRONG[wrong]
    damage(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SourceError, match=words) as refusal:
        write_import(plan_import(open_source(str(folder))), folder.parent / "out", "int8")
    assert "\n" not in str(refusal.value)
    assert not (folder.parent / "out").exists()
    with pytest.raises(SourceError) as served:
        resolve_model(str(folder))
    assert str(served.value) == str(refusal.value)
    assert not list((folder.parent / "cache").rglob("model.safetensors"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_a_name_of_nothing_is_refused(tmp_path: Path) -> None:
    for text in ("/nowhere/at/all", "no-such-model", str(tmp_path)):
        with pytest.raises(SourceError):
            open_source(text)


@pytest.mark.parametrize("weights", ["int8", "bfloat16", "float32"])
def test_a_whole_one_is_written_verified_and_kept(folder: Path, weights: Any) -> None:
    out = resolve_model(str(folder), weights)
    assert verify_checkpoint(out) == []
    checkpoint = load_checkpoint(out)
    assert checkpoint.stored_type == weights
    assert checkpoint.origin["location"] == str(folder)
    assert "LlamaForCausalLM" in (out / "MODEL_CARD.md").read_text()
    stamp = (out / "manifest.json").stat().st_mtime_ns
    assert resolve_model(str(folder), weights) == out
    assert (out / "manifest.json").stat().st_mtime_ns == stamp
    edit_tensor(folder, lambda t: spoil(t, 0.25))
    assert resolve_model(str(folder), weights) != out
