"""Whole conversations: translations in every turn, with talk and refusals between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avikam.trainer.conversations.asking import Sentence, ask, sentence_of
from avikam.trainer.conversations.chance import happens, one_of
from avikam.trainer.conversations.chatting import Turns, introduction, small_talk
from avikam.trainer.conversations.passages import passage
from avikam.trainer.conversations.phrasebook import LANGUAGES, Language, Phrasebook, other
from avikam.trainer.conversations.refusing import Beyond
from avikam.trainer.conversations.slots import fill
from avikam.trainer.conversations.substitution import substitute
from avikam.trainer.examples import Pair

_PLAIN_SYSTEM = 0.3
_ENDS = (".", "!", "?")
"""A sentence that ends so may stand before another one."""
_OPENERS = ("hello", "hello", "hello", "wellbeing", "ready", "name", "ability")
_BETWEEN = ("thanks", "thanks", "thanks", "praise", "doubt", "sorry", "human", "happy", "sad")


class Composer:
    """Makes conversations of the pairs in ``pool``; the same generator makes the same ones."""

    def __init__(self, pool: Sequence[Pair], phrases: Phrasebook, beyond: Beyond) -> None:
        self._pool = pool
        self._whole = [p for p in pool if p.french.endswith(_ENDS)] or pool
        self._phrases = phrases
        self._beyond = beyond

    def single(self, rng: np.random.Generator, pair: Pair, language: Language) -> Turns:
        """One request in free words, under a plain system text now and then."""
        return self._plain_system(rng) + self._asked(rng, sentence_of(pair, language))

    def copying(self, rng: np.random.Generator, pair: Pair, language: Language) -> Turns:
        """A request with names and numbers put into it."""
        phrases = self._phrases
        changed = substitute(rng, pair, phrases.names)
        if changed is None:
            changed = fill(rng, one_of(rng, phrases.templates), phrases.names)
            if happens(rng, 0.3):
                changed = _after(changed, fill(rng, one_of(rng, phrases.templates), phrases.names))
        return self.single(rng, changed, language)

    def several(self, rng: np.random.Generator, pair: Pair, language: Language) -> Turns:
        """A request of several sentences or a mail."""
        return self.single(rng, passage(rng, pair, self._whole, self._phrases), language)

    def refusal(self, rng: np.random.Generator, language: Language) -> Turns:
        """A question beyond the model, alone or after a translation."""
        before = self._plain_system(rng)
        if happens(rng, 0.3):
            before += self._asked(rng, self._drawn(rng, one_of(rng, LANGUAGES)))
        return before + self._beyond.turn(rng, language)

    def talk(self, rng: np.random.Generator, language: Language) -> Turns:
        """One or two exchanges of small talk, or a name that is asked for later."""
        turns = self._plain_system(rng)
        if happens(rng, 0.15):
            first, later = introduction(
                rng, self._phrases.introductions[language], self._phrases.names
            )
            middle = self._asked(rng, self._drawn(rng, language)) if happens(rng, 0.5) else []
            return turns + first + middle + later
        groups = list(self._phrases.talk)
        for _ in range(int(rng.integers(1, 3))):
            turns += small_talk(rng, self._phrases.talk[one_of(rng, groups)], language)
        return turns

    def conversation(self, rng: np.random.Generator, pair: Pair, language: Language) -> Turns:
        """Two to five turns that begin with, or lead to, the translation of ``pair``."""
        draw = rng.random()
        if draw < 0.14:
            return self._for_a_translator(rng, pair, language)
        if draw < 0.20:
            return self._for_an_interpreter(rng, pair, language)
        if draw < 0.28:
            return self._in_a_language(rng, pair, language)
        return self._of_everything(rng, pair, language)

    def _for_a_translator(self, rng: np.random.Generator, pair: Pair, language: Language) -> Turns:
        """A system text that asks for one direction, then bare sentences."""
        turns: Turns = [("system", one_of(rng, self._phrases.systems[_TO[language]]))]
        for sentence in self._sentences(rng, pair, language, int(rng.integers(1, 5))):
            turns += self._bare(rng, sentence)
        return turns

    def _for_an_interpreter(
        self, rng: np.random.Generator, pair: Pair, language: Language
    ) -> Turns:
        """A system text that asks for both directions, then bare sentences in either language."""
        turns: Turns = [("system", one_of(rng, self._phrases.systems["both_ways"]))]
        turns += self._bare(rng, sentence_of(pair, language))
        for _ in range(int(rng.integers(1, 4))):
            turns += self._bare(rng, self._drawn(rng, one_of(rng, LANGUAGES)))
        return turns

    def _in_a_language(self, rng: np.random.Generator, pair: Pair, language: Language) -> Turns:
        """A system text that asks for a language of answers; translations keep their direction."""
        spoken = one_of(rng, LANGUAGES)
        name = "speak_french" if spoken == "fr" else "speak_english"
        turns: Turns = [("system", one_of(rng, self._phrases.systems[name]))]
        for _ in range(int(rng.integers(1, 3))):
            group = self._phrases.talk[one_of(rng, list(self._phrases.talk))]
            turns += small_talk(rng, group, one_of(rng, LANGUAGES), spoken)
            if happens(rng, 0.3):
                turns += self._beyond.turn(rng, one_of(rng, LANGUAGES), spoken)
        return turns + self._asked(rng, sentence_of(pair, language))

    def _of_everything(self, rng: np.random.Generator, pair: Pair, language: Language) -> Turns:
        """Greetings, translations that refer to each other, thanks, changes of topic."""
        turns = self._plain_system(rng)
        if happens(rng, 0.35):
            turns += self._chat(rng, _OPENERS, _speaker(rng, language))
        sentence = sentence_of(pair, language)
        turns += self._asked(rng, sentence)
        for _ in range(int(rng.integers(1, 5))):
            more, sentence = self._next(rng, sentence)
            turns += more
        return turns

    def _next(self, rng: np.random.Generator, last: Sentence) -> tuple[Turns, Sentence]:
        """What may follow a translation, and the sentence that counts as the last one then."""
        makers = (
            (0.34, self._one_more),
            (0.20, self._another),
            (0.12, self._other_way),
            (0.06, self._back),
            (0.06, self._corrected),
            (0.03, self._repeated),
            (0.11, self._interrupted),
            (0.08, self._refused),
        )
        shares = np.array([share for share, _ in makers])
        _, make = makers[int(rng.choice(len(makers), p=shares / shares.sum()))]
        return make(rng, last)

    def _one_more(self, rng: np.random.Generator, last: Sentence) -> tuple[Turns, Sentence]:
        """Another sentence of the same language, asked for in few words."""
        fresh = self._drawn(rng, last.language)
        wordings = self._phrases.wordings[last.language].next
        return _turn(ask(rng, fresh, wordings), fresh.translation), fresh

    def _another(self, rng: np.random.Generator, last: Sentence) -> tuple[Turns, Sentence]:
        """A whole new request."""
        del last
        fresh = self._drawn(rng, one_of(rng, LANGUAGES))
        return self._asked(rng, fresh), fresh

    def _other_way(self, rng: np.random.Generator, last: Sentence) -> tuple[Turns, Sentence]:
        """A sentence of the other language: the direction turns."""
        fresh = self._drawn(rng, other(last.language))
        wordings = self._phrases.wordings[fresh.language].turn
        return _turn(ask(rng, fresh, wordings), fresh.translation), fresh

    def _back(self, rng: np.random.Generator, last: Sentence) -> tuple[Turns, Sentence]:
        """The answer just given, said in the first language again."""
        swapped = Sentence(last.translation, last.text, other(last.language))
        return _turn(one_of(rng, self._phrases.wordings[swapped.language].back), last.text), swapped

    def _corrected(self, rng: np.random.Generator, last: Sentence) -> tuple[Turns, Sentence]:
        """Another sentence instead of the last one."""
        fresh = self._drawn(rng, last.language)
        return _turn(ask(rng, fresh, self._phrases.correction), fresh.translation), fresh

    def _repeated(self, rng: np.random.Generator, last: Sentence) -> tuple[Turns, Sentence]:
        """The last answer once more."""
        return _turn(one_of(rng, self._phrases.again), last.translation), last

    def _interrupted(self, rng: np.random.Generator, last: Sentence) -> tuple[Turns, Sentence]:
        """Thanks, praise or doubt between two requests."""
        return self._chat(rng, _BETWEEN, _speaker(rng, last.language)), last

    def _refused(self, rng: np.random.Generator, last: Sentence) -> tuple[Turns, Sentence]:
        """A question beyond the model between two requests."""
        return self._beyond.turn(rng, _speaker(rng, last.language)), last

    def _asked(self, rng: np.random.Generator, sentence: Sentence) -> Turns:
        wordings = self._phrases.wordings[sentence.language].first
        return _turn(ask(rng, sentence, wordings), sentence.translation)

    def _bare(self, rng: np.random.Generator, sentence: Sentence) -> Turns:
        return _turn(ask(rng, sentence, ["{s}"]), sentence.translation)

    def _chat(self, rng: np.random.Generator, groups: Sequence[str], language: Language) -> Turns:
        return small_talk(rng, self._phrases.talk[one_of(rng, groups)], language)

    def _plain_system(self, rng: np.random.Generator) -> Turns:
        if not happens(rng, _PLAIN_SYSTEM):
            return []
        return [("system", one_of(rng, self._phrases.systems["plain"]))]

    def _drawn(self, rng: np.random.Generator, language: Language) -> Sentence:
        """Another sentence; one in eight has names or numbers put into it."""
        pair = one_of(rng, self._pool)
        if happens(rng, 1 / 8):
            pair = substitute(rng, pair, self._phrases.names) or pair
        return sentence_of(pair, language)

    def _sentences(
        self, rng: np.random.Generator, pair: Pair, language: Language, count: int
    ) -> list[Sentence]:
        return [sentence_of(pair, language)] + [
            self._drawn(rng, language) for _ in range(count - 1)
        ]


_TO: dict[Language, str] = {"fr": "to_english", "en": "to_french"}


def _turn(user: str, assistant: str) -> Turns:
    return [("user", user), ("assistant", assistant)]


def _after(first: Pair, second: Pair) -> Pair:
    return Pair(f"{first.french} {second.french}", f"{first.english} {second.english}")


def _speaker(rng: np.random.Generator, language: Language) -> Language:
    """Who wants French translated mostly speaks French, and so on."""
    return language if happens(rng, 0.75) else other(language)
