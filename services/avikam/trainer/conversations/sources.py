"""Conversations as sources of the pretraining mixture, drawn afresh in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from avikam.model.tokenizer import Tokenizer
from avikam.trainer.conversations.chatting import Turns
from avikam.trainer.conversations.composing import Composer
from avikam.trainer.conversations.phrasebook import LANGUAGES, Language, phrasebook
from avikam.trainer.conversations.refusing import Beyond
from avikam.trainer.corpus import EVERYDAY, Corpus
from avikam.trainer.examples import Example, Pair, chat
from avikam.trainer.mixture import Source

Make = Callable[[np.random.Generator, Pair, Language], Turns]
_LONGEST = 160
"""Characters of a sentence that still fits into a conversation."""
_TALKS = 2000
"""Items that one pass over refusals or small talk counts: they are phrases, not texts."""


def everyday_pool(corpus: Corpus) -> list[Pair]:
    """The pairs of everyday domains that are short enough to stand in a conversation."""
    pairs = [pair for domain in EVERYDAY for pair in corpus.pairs.get(domain, [])]
    return [pair for pair in pairs if max(len(pair.french), len(pair.english)) <= _LONGEST]


def composer(corpus: Corpus, pool: Sequence[Pair]) -> Composer:
    """A composer over ``pool``, with the corpus's quiz questions as questions of fact."""
    phrases = phrasebook()
    return Composer(pool, phrases, Beyond(phrases.refusals, quiz_questions(corpus)))


def conversation_makers(composer: Composer) -> dict[str, Make]:
    """What each source of conversations makes of a pair, by the source's name."""
    return {
        "conversations": composer.conversation,
        "free-requests": composer.single,
        "copying": composer.copying,
        "several-sentences": composer.several,
        "refusals": lambda rng, _, language: composer.refusal(rng, language),
        "small-talk": lambda rng, _, language: composer.talk(rng, language),
    }


def conversation_sources(corpus: Corpus, tokenizer: Tokenizer, most: int) -> list[Source]:
    """One source per kind; each pair counts twice, once per language of the request."""
    short = everyday_pool(corpus)
    makers = conversation_makers(composer(corpus, short)) if short else {}

    def source(name: str, make: Make) -> Source:
        def render(index: int, rng: np.random.Generator) -> Example:
            turns = make(rng, short[index // 2 % len(short)], LANGUAGES[index % 2])
            return whole_turns(chat(tokenizer, turns), most, tokenizer.eos_id)

        phrases = name in ("refusals", "small-talk")
        return Source(name, _TALKS if phrases else 2 * len(short), 0.0, render)

    return [source(name, make) for name, make in makers.items()]


def whole_turns(example: Example, most: int, end: int) -> Example:
    """The example cut to ``most`` tokens after a whole turn."""
    if len(example.tokens) <= most:
        return example
    kept = most
    while kept and example.tokens[kept - 1] != end:
        kept -= 1
    return Example(example.tokens[:kept], example.counts[:kept])


def quiz_questions(corpus: Corpus) -> dict[Language, list[str]]:
    """The corpus's quiz questions without their options, by language."""
    questions: dict[Language, list[str]] = {"fr": [], "en": []}
    for turns in corpus.chats.get("quiz", []):
        question = turns[0][1].split("\n")[0].split(" (")[0].strip()
        if 10 < len(question) < 140:
            questions[_language_of(question)].append(question)
    return questions


def _language_of(text: str) -> Language:
    """French when a word that only French has stands in it; for questions that is enough."""
    words = set(text.lower().replace("'", " ").split())
    french = {"le", "la", "les", "un", "une", "des", "du", "est", "quel", "quelle", "qui", "dans"}
    return "fr" if len(words & french) > len(words & {"the", "of", "is", "what", "which"}) else "en"
