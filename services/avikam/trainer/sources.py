"""The pretraining mixture: which part of the corpus is drawn how often, and in which form."""

from __future__ import annotations

import numpy as np

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.conversation_rows import Turns
from avikam.trainer.conversations.sources import conversation_sources
from avikam.trainer.corpus import EVERYDAY, Corpus, Passage
from avikam.trainer.examples import (
    Example,
    Pair,
    chat,
    document,
    tagged_translation,
    translation,
)
from avikam.trainer.mixture import Source

_OWN = ("talk", "regional", "arithmetic", "logic", "quiz", "reading", "math")
"""Kinds of conversations with a source of their own; every other kind is ``chat``."""
_TAGGED = 0.1
"""Share of pairs in the form ``[FR] source [EN] target``, which completions may ask for."""
REAL_SIDE = {"fr": "backtranslated-fr", "en": "backtranslated-en"}
"""Domains of back-translated pairs by the language that is real text."""
FALLBACK_PROMPTS = {
    "fr>en": ["Traduis en anglais : {s}", "Translate into English: {s}"],
    "en>fr": ["Traduis en français : {s}", "Translate into French: {s}"],
}


def pretraining_sources(
    corpus: Corpus, tokenizer: Tokenizer, weights: dict[str, float], max_tokens: int
) -> list[Source]:
    """Named sources with their share of tokens; ``max_tokens`` cuts the longest examples.

    ValueError when ``weights`` names a source that is none.
    """
    pools = {
        "everyday-pairs": _pairs(corpus, everyday=True),
        "other-pairs": _pairs(corpus, everyday=False),
    }
    passages = {
        "sentences": _passages(corpus, ("conversational", "sentences", "spoken")),
        "prose": _passages(corpus, None),
    }
    chats = {
        "chat": [t for kind, turns in corpus.chats.items() if kind not in _OWN for t in turns],
        "talk": [t for kind in ("talk", "regional") for t in corpus.chats.get(kind, [])],
        "regional": list(corpus.chats.get("regional", [])),
        "arithmetic": list(corpus.chats.get("arithmetic", [])),
        "logic": list(corpus.chats.get("logic", [])),
        "quiz": list(corpus.chats.get("quiz", [])),
        "reading": list(corpus.chats.get("reading", [])),
        "word-problems": list(corpus.chats.get("math", [])),
    }
    prompts = {d: corpus.prompts.get(d) or FALLBACK_PROMPTS[d] for d in FALLBACK_PROMPTS}
    sources = [_pair_source(n, p, prompts, tokenizer, max_tokens) for n, p in pools.items()]
    sources.append(_generated_source(corpus, prompts, tokenizer, max_tokens))
    sources += [_passage_source(n, p, tokenizer, max_tokens) for n, p in passages.items()]
    sources += [_chat_source(n, t, tokenizer, max_tokens) for n, t in chats.items()]
    sources += conversation_sources(corpus, tokenizer, max_tokens)
    _refuse_unknown(weights, [source.name for source in sources])
    return [Source(s.name, s.size, weights.get(s.name, 0.0), s.render) for s in sources]


def _refuse_unknown(weights: dict[str, float], known: list[str]) -> None:
    unknown = [name for name in weights if name not in known]
    if unknown:
        raise ValueError(f"no source is named {unknown[0]!r}; weights take {', '.join(known)}")


def _pairs(corpus: Corpus, everyday: bool) -> list[Pair]:
    own = {d: pairs for d, pairs in corpus.pairs.items() if d not in REAL_SIDE.values()}
    return [p for d, pairs in own.items() if (d in EVERYDAY) == everyday for p in pairs]


def _passages(corpus: Corpus, domains: tuple[str, ...] | None) -> list[Passage]:
    chosen = domains if domains is not None else tuple(sorted(corpus.passages))
    return [p for d in chosen for p in corpus.passages.get(d, [])]


def _cut(example: Example, max_tokens: int) -> Example:
    return Example(example.tokens[:max_tokens], example.counts[:max_tokens])


def _pair_source(
    name: str, pairs: list[Pair], prompts: dict[str, list[str]], tokenizer: Tokenizer, most: int
) -> Source:
    """Each pair counts twice, once per direction; one time in ten in the tagged form."""

    def render(index: int, rng: np.random.Generator) -> Example:
        pair, to_english = pairs[index // 2], index % 2 == 0
        if rng.random() < _TAGGED:
            return _cut(tagged_translation(tokenizer, pair, to_english), most)
        asked = prompts["fr>en" if to_english else "en>fr"]
        return _cut(translation(tokenizer, pair, asked, to_english, rng), most)

    return Source(name, 2 * len(pairs), 0.0, render)


def _generated_source(
    corpus: Corpus, prompts: dict[str, list[str]], tokenizer: Tokenizer, most: int
) -> Source:
    """Back-translated pairs, each asked for only in the direction of its real side."""
    into_english = corpus.pairs.get(REAL_SIDE["en"], [])
    into_french = corpus.pairs.get(REAL_SIDE["fr"], [])

    def render(index: int, rng: np.random.Generator) -> Example:
        to_english = index < len(into_english)
        pair = into_english[index] if to_english else into_french[index - len(into_english)]
        asked = prompts["fr>en" if to_english else "en>fr"]
        return _cut(translation(tokenizer, pair, asked, to_english, rng), most)

    return Source("generated-pairs", len(into_english) + len(into_french), 0.0, render)


def _passage_source(name: str, passages: list[Passage], tokenizer: Tokenizer, most: int) -> Source:
    """A run of lines from a random start, tagged with its language half of the time."""

    def render(index: int, rng: np.random.Generator) -> Example:
        passage = passages[index]
        lines = passage.text.split("\n")
        start = int(rng.integers(len(lines)))
        text = "\n".join(lines[start : start + int(rng.integers(1, 40))])
        tag = passage.language if rng.random() < 0.5 else None
        return _cut(document(tokenizer, text, tag), most)

    return Source(name, len(passages), 0.0, render)


def _chat_source(name: str, chats: list[Turns], tokenizer: Tokenizer, most: int) -> Source:
    def render(index: int, rng: np.random.Generator) -> Example:
        return _cut(chat(tokenizer, chats[index]), most)

    return Source(name, len(chats), 0.0, render)
