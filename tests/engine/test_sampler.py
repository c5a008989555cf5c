"""Sampling as a pure function of logits, parameters, seed and position."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from avikam.engine.draw import Draw, DrawRows, perturbed
from avikam.engine.noise import _GOLDEN, _gumbel, _mixed, gumbel, row_key, signed
from avikam.engine.sampler import SamplingRow, sample
from avikam.protocol.sampling import SamplingParams

NOTHING = torch.tensor([], dtype=torch.long)


def row(position: int = 0, seed: int = 0, **params: Any) -> SamplingRow:
    sampling = SamplingParams(**params)
    return SamplingRow(sampling, seed, position, frozenset(), Counter())


def tokens(logits: Tensor, rows: list[SamplingRow]) -> list[int | None]:
    choices = sample(logits, rows, NOTHING)
    return [None if choice is None else choice.token for choice in choices]


def distribution(logits: Tensor, draws: int = 4000, **params: Any) -> Tensor:
    """Relative frequencies of ``draws`` positions."""
    many = logits.expand(draws, -1)
    drawn = tokens(many, [row(position, **params) for position in range(draws)])
    return torch.bincount(torch.tensor(drawn), minlength=logits.numel()) / draws


LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_softmax(temperature: float) -> None:
    expected = (LOGITS / temperature).softmax(0)
    assert (distribution(LOGITS, temperature=temperature) - expected).abs().max() < 0.03


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"top_k": 2}, 2),
        ({"top_k": 1}, 1),
        ({"top_p": 0.5}, 1),
        ({"top_p": 0.8}, 2),
        ({"min_p": 0.3}, 2),
        ({"top_k": 3, "top_p": 0.99, "min_p": 0.2}, 2),
    ],
)
def test_filters_keep_the_likeliest(params: dict[str, Any], kept: int) -> None:
    seen = distribution(LOGITS, draws=500, temperature=1.0, **params)
    assert torch.nonzero(seen).flatten().tolist() == list(range(kept))


@pytest.mark.parametrize("spread", [0.01, 1.0, 6.0])
def test_filters_are_the_same_within_the_best_scores_and_beyond(spread: float) -> None:
    """Against probabilities worked out one by one; a flat row's nucleus is most of it."""
    logits = torch.randn(1, 2000, generator=torch.Generator().manual_seed(4)) * spread
    for top_k, top_p, min_p in itertools.product((0, 3, 700), (0.3, 0.9, 1.0), (0.0, 0.2)):
        params = SamplingParams(temperature=1.0, top_k=top_k, top_p=top_p, min_p=min_p)
        draws = DrawRows.of([Draw.of(params, 1, 2, 2000)], 2000)
        kept = (perturbed(logits, draws)[0] > -torch.inf).nonzero().flatten().tolist()
        assert set(kept) == by_hand(logits[0].double(), params)


def by_hand(logits: Tensor, params: SamplingParams) -> set[int]:
    """The tokens that a row's filters leave, in their order: top-k, top-p, min-p."""
    order = logits.sort(descending=True).indices.tolist()[: params.top_k or None]
    shares = logits[order].softmax(0).tolist()
    kept, before = [], 0.0
    for token, share in zip(order, shares, strict=True):
        nucleus = params.top_p >= 1.0 or before < params.top_p
        if nucleus and share >= params.min_p * shares[0]:
            kept.append(token)
        before += share
    return set(kept)


def test_a_row_gives_the_same_token_alone_and_in_any_batch() -> None:
    logits = torch.randn(33, 500, generator=torch.Generator().manual_seed(1))
    rows = [
        row(i, seed=i % 3, temperature=0.0 if i % 4 == 0 else 0.8, top_p=0.9, top_k=i)
        for i in range(33)
    ]
    together = tokens(logits, rows)
    alone = [tokens(logits[i : i + 1], [rows[i]])[0] for i in range(33)]
    backwards = tokens(logits.flip(0), rows[::-1])[::-1]
    assert together == alone == backwards


def test_temperature_zero_is_the_argmax_and_ignores_filters() -> None:
    logits = torch.randn(8, 100, generator=torch.Generator().manual_seed(2))
    rows = [row(i, top_p=0.1, seed=i) for i in range(8)]
    assert tokens(logits, rows) == logits.argmax(-1).tolist()


def test_temperatures_too_small_to_divide_by_are_zero() -> None:
    logits = torch.randn(3, 100, generator=torch.Generator().manual_seed(2))
    rows = [row(i, temperature=value) for i, value in enumerate((5e-324, 1e-45, 1e-6))]
    assert tokens(logits, rows) == logits.argmax(-1).tolist()


def noise(*events: tuple[int, int], size: int = 64) -> Tensor:
    """Noise of (seed, position) pairs."""
    return gumbel(torch.tensor([signed(row_key(*event)) for event in events]), size)


def test_noise_depends_on_seed_and_position_alone() -> None:
    one = noise((1, 5))
    assert torch.equal(one, noise((9, 9), (1, 5))[1:])
    assert not torch.equal(one, noise((1, 6)))
    assert not torch.equal(one, noise((2, 5)))
    assert not torch.equal(one, noise((1 + 2**63, 5)))
    assert torch.isfinite(noise(*((0, i) for i in range(2000)), size=200)).all()


def test_a_cpus_noise_is_a_gpus() -> None:
    keys = torch.tensor([signed(row_key(seed, 3)) for seed in range(8)])
    steps = torch.arange(1, 501) * signed(_GOLDEN)
    assert torch.equal(gumbel(keys, 500), _gumbel(_mixed(keys.unsqueeze(1) + steps)))


def test_noise_is_pinned() -> None:
    """A changed hash would silently change what every seed gives: this must be noticed."""
    expected = torch.tensor([[-1.575339, -0.863866, 1.090621, 0.943942]])
    assert torch.allclose(noise((42, 7), size=4), expected, atol=1e-6)


def test_penalties_and_bias_change_the_best_token() -> None:
    logits = torch.tensor([[3.0, 2.9, 2.8, 0.0]])
    base = row()
    used = replace(base, generated=Counter({0: 2}), prompt=frozenset({1}))
    cases: list[tuple[dict[str, float], int]] = [
        ({"presence_penalty": 0.15}, 1),  # 3.0 - 0.15 < 2.9
        ({"frequency_penalty": 0.04}, 0),  # 3.0 - 2 * 0.04 > 2.9
        ({"frequency_penalty": 0.06}, 1),  # 3.0 - 2 * 0.06 < 2.9
        ({"repetition_penalty": 1.5}, 2),  # prompt and output both count
    ]
    for change, expected in cases:
        params = replace(base.params, **change)  # type: ignore[arg-type]
        assert tokens(logits, [replace(used, params=params)]) == [expected], change
    biased = replace(base.params, logit_bias={3: 10.0})
    assert tokens(logits, [replace(base, params=biased)]) == [3]


def test_banned_and_never_tokens_do_not_come() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0]])
    assert tokens(logits, [replace(row(), banned=(0,))]) == [1]
    never = torch.tensor([0, 1])
    chosen = sample(logits, [row()], never)[0]
    assert chosen is not None
    assert chosen.token == 2
    masked = replace(row(), allowed=torch.tensor([False, False, True]))
    assert tokens(logits, [masked]) == [2]


def test_rows_without_a_possible_token_fail_alone() -> None:
    logits = torch.tensor([[1.0, 2.0], [torch.nan, 2.0], [1.0, 2.0]])
    rows = [row(), row(), replace(row(), banned=(0, 1))]
    assert tokens(logits, rows) == [1, None, None]


def test_logprobs_are_those_of_the_raw_logits() -> None:
    choice = sample(LOGITS.unsqueeze(0), [row(logprobs=2, logit_bias={4: 50.0})], NOTHING)[0]
    assert choice is not None
    expected = LOGITS.log_softmax(0)
    assert (choice.token, choice.rank) == (4, 5)
    assert choice.logprob == pytest.approx(expected[4].item())
    assert [token for token, _ in choice.top] == [0, 1]
    assert [p for _, p in choice.top] == pytest.approx(expected[:2].tolist())
