"""Scores of answers, and the two figures that sum a model up."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

from avikam.model.tokenizer import normalize

_ARTICLES = re.compile(r"\b(le|la|les|l|un|une|des|du|de|d|au|aux|the|a|an)\b")
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}«»’‘“”–—…]")
_NUMBER = re.compile(r"-?\d+(?:[  .,]\d{3})*(?:[.,]\d+)?")


def plain(text: str) -> str:
    """Lower case without punctuation and articles (SQuAD's rule, with French articles)."""
    text = _PUNCTUATION.sub(" ", normalize(text).lower())
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 when the answer equals a reference after :func:`plain`."""
    return float(any(plain(answer) == plain(reference) for reference in references))


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Best harmonic mean of word precision and recall (Rajpurkar et al. 2016)."""
    return max((_f1(plain(answer).split(), plain(r).split()) for r in references), default=0.0)


def _f1(answer: list[str], reference: list[str]) -> float:
    shared = sum((Counter(answer) & Counter(reference)).values())
    if not answer or not reference or not shared:
        return float(answer == reference)
    precision, recall = shared / len(answer), shared / len(reference)
    return 2 * precision * recall / (precision + recall)


def last_number(text: str) -> str:
    """The last number of a text, without thousands separators; empty when there is none.

    >>> last_number("20 + 22 = 42.\\nAnswer: 1,042")
    '1042'
    """
    found = _NUMBER.findall(text)
    if not found:
        return ""
    number = re.sub(r"[  .,](?=\d{3}(?:\D|$))", "", found[-1])
    return number.rstrip(".,")


def normalized_perplexity(perplexity: float, vocabulary: int) -> float:
    """1 for a perfect model, 0 for one that guesses uniformly: ``1 - ln(ppl) / ln(vocabulary)``."""
    return min(1.0, max(0.0, 1.0 - math.log(perplexity) / math.log(vocabulary)))


def composite(accuracy: float, bleu: float, perplexity_score: float) -> float:
    """The specification's score ``0.4 accuracy + 0.3 BLEU + 0.3 normalised perplexity``.

    All three lie in 0..1 (BLEU is divided by 100 before).
    """
    return 0.4 * accuracy + 0.3 * bleu + 0.3 * perplexity_score


def efficiency(score: float, tokens_per_second: float, gibibytes: float) -> float:
    """Quality delivered per second and per memory held: ``score * tokens/s / GiB of weights``.

    Comparable only between figures from the same machine and batch size.
    """
    return score * tokens_per_second / gibibytes
