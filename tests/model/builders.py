"""Small models with random weights, and a tokenizer for them, made on the spot."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import Tensor

from avikam.model.checkpoint import write_checkpoint
from avikam.model.config import ModelConfig, preset
from avikam.model.quantize import quantize_state
from avikam.model.tokenizer import CONTROL_TOKENS, normalize
from avikam.model.transformer import Avikam1, initialize

TEXT = (
    "Où est la gare ? L'été, les garçons mangent des crêpes à l'hôtel près de la forêt.",
    "Where is the station? In summer the boys eat pancakes at the hotel near the forest.",
    "Cœur naïf, Noël à l'île d'Oléron : déjà vu, ça coûte 12 € et 50 centimes !",
    "The quick brown fox jumps over 13 lazy dogs while seven wizards boxed quietly.",
    "Aujourd'hui j'ai vu un élève très occupé ; demain nous verrons le maître-nageur.",
)


def small_config(**changes: Any) -> ModelConfig:
    """Two layers of 64; a window of 8 and a stride of 4 make short sequences interesting."""
    small = {"window": 8, "stride": 4, "max_positions": 96}
    return preset("avikam1-test").with_changes(**(small | changes))


def random_weights(config: ModelConfig, seed: int = 1, spread: float = 4.0) -> dict[str, Tensor]:
    """Weights wide enough that tokens differ and errors would show."""
    model = Avikam1(config)
    initialize(model, seed)
    weights = {name: w.detach() for name, w in model.state_dict().items()}
    if config.tie_embeddings:
        del weights["head.weight"]
    generator = torch.Generator().manual_seed(seed)
    return {name: _spread(name, w, spread, generator) for name, w in weights.items()}


def _spread(name: str, weight: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    """Wider matrices; biases and the norms of other families are random too, for zeros and ones
    would hide that one is left out."""
    if weight.dim() == 2:
        return weight * spread
    noise = torch.rand(weight.shape, generator=generator)
    if name.endswith(".bias"):
        return noise - 0.5
    plain = ("attention_norm.weight", "ffn_norm.weight")
    return weight if name == "norm.weight" or name.endswith(plain) else noise + 0.5


def random_tokens(config: ModelConfig, length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, config.vocab_size, (length,), generator=generator).tolist()


def train_tiny_tokenizer(target: Path, vocab_size: int = 512) -> Path:
    """A SentencePiece model with byte fallback over a few sentences."""
    words = " ".join(TEXT).split()
    rng = random.Random(7)
    lines = [normalize(" ".join(rng.choices(words, k=12))) for _ in range(2000)]
    with target.open("wb") as writer:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=writer,
            vocab_size=vocab_size,
            model_type="bpe",
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            control_symbols=list(CONTROL_TOKENS),
            user_defined_symbols=["\n"],
            bos_id=1,
            eos_id=2,
            unk_id=0,
            pad_id=-1,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return target


def tiny_checkpoint(folder: Path, *, int8: bool = True, **changes: Any) -> Path:
    """A complete checkpoint folder of a random small model, with a tokenizer that fits."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tiny_tokenizer(folder / "tiny.model")
    size = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).vocab_size()
    config = small_config(vocab_size=size, **changes)
    weights = random_weights(config)
    state = quantize_state(weights) if int8 else weights
    data = tokenizer.read_bytes()
    tokenizer.unlink()
    write_checkpoint(folder, config, state, data, {"max_tokens": 16}, "# A random model\n")
    return folder
