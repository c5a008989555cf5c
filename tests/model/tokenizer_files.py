"""Small tokenizers of every kind that real checkpoints have, trained on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from tokenizers.processors import TemplateProcessing

from avikam.model.vocabulary.hugging_face import HfTokenizer
from avikam.model.vocabulary.words import TokenizerWords
from tests.model.builders import TEXT

CORPUS = (
    "Où est la gare ? L'été, les garçons mangent des crêpes à l'hôtel.",
    "def f(x):\n    return x**2  # carré\n\n\n",
    "😀👩‍👩‍👧 cœur 𝄞 naïve — 12 345,67 €\n日本語 ﬁn\t\ttab",
    "   leading and trailing   ",
    "e\u0301te\u0301 (combining), é (composed), ½ ² Ⅷ",
    "don't I'll we've THEY'RE l'avion aujourd'hui",
    "a\r\nb\u00a0c\u2028d\u200be",
    "",
    " ",
    "1234567890 3.14 0x1F",
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_level(size: int = 600) -> Tokenizer:
    """GPT-2's kind, with single digits, as SmolLM2 has it; one added token that is not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*TEXT, *CORPUS] * 3, trainer)
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return tokenizer


def pieces(decoder: Any = None, size: int = 500) -> Tokenizer:
    """Llama 2's kind: a space in front, pieces with ▁, bytes for what is unknown."""
    words = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<unk>", "<s>", "</s>", *words],
        limit_alphabet=80,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 5, trainer)
    # Bytes are pieces, not special tokens: only the trainer has to hear of them as such.
    document = json.loads(tokenizer.to_str())
    document["added_tokens"] = [
        a for a in document["added_tokens"] if not a["content"].startswith("<0x")
    ]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.decoder = decoder or llama_decoder()
    return tokenizer


def llama_decoder() -> Any:
    """Spaces for ▁, bytes joined, the first space away."""
    return decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )


def rewriting_decoder() -> Any:
    """One that takes spaces away across pieces, as Lucie's does."""
    pairs = (("\n ", "\n"), ("\t ", "\t"), ("' ", "'"), ("( ", "("), ("« ", "«"), ("a a", "b"))
    return decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Metaspace("▁", "always"),
            decoders.Fuse(),
            *(decoders.Replace(old, new) for old, new in pairs),
        ]
    )


def hf_tokenizer(
    library: Tokenizer, template: str = "", *, size: int = 0, **words: Any
) -> HfTokenizer:
    """Our tokenizer around a library's."""
    ends = words.pop("end_ids", (2,))
    told = TokenizerWords(end_ids=ends, chat_template=template, **words)
    data = library.to_str().encode()
    return HfTokenizer(data, told, size or library.get_vocab_size(with_added_tokens=True))


def write_tokenizer(folder: Path, library: Tokenizer, **config: Any) -> None:
    """The two files of a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
