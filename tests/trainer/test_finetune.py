"""Adapters: the two phases, what they change, and who else can read them."""

from __future__ import annotations

import json
import random
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from avikam.model.checkpoint import load_checkpoint
from avikam.model.loading import load_model
from avikam.model.lora import AppliedAdapter, adapt_rows
from avikam.model.lora_files import read_adapter
from avikam.model.quantize import float_state
from avikam.model.tokenizer import Tokenizer
from avikam.trainer.decoding import Request, greedy
from avikam.trainer.export.merge import merged
from avikam.trainer.finetuning.adapters import Adapters, packed_rows
from avikam.trainer.finetuning.dropout import AdaptiveDropout
from avikam.trainer.finetuning.eight_bit import quantize_base
from avikam.trainer.finetuning.layers import LayerChoice, recomputed_layers, released_layers
from avikam.trainer.finetuning.objective import regularized_loss, smoothing
from avikam.trainer.finetuning.peft_files import write_adapter
from avikam.trainer.finetuning.plain_model import PlainModel
from avikam.trainer.finetuning.recipe import FinetuneRecipe, Phase
from avikam.trainer.likelihood import one_per_row
from avikam.trainer.loss import hidden_states
from avikam.trainer.metrics import read_metrics
from tests.trainer.ahoy import RECIPE, ahoy
from tests.trainer.builders import random_example, random_tokens, tiny_model
from tests.trainer.commands import avikam, start
from tests.trainer.conftest import Pipeline
from tests.trainer.test_pretrain import wait_for_step


def answer(pipeline: Pipeline, adapter: Path | None, prompt: str) -> str:
    """What the exported int8 model says, as a worker would run it."""
    checkpoint = load_checkpoint(pipeline.model)
    tokenizer = Tokenizer(checkpoint.tokenizer_file)
    weights = float_state(checkpoint.weights)
    if adapter:
        weights = merged(weights, read_adapter(adapter, checkpoint.config), checkpoint.config)
    model = tiny_model(**_shape(checkpoint.config))
    model.load_state_dict({**weights, "head.weight": weights["embed.weight"]})
    ids = tokenizer.encode_chat([("user", prompt)])
    return tokenizer.decode(greedy(model, [Request(ids, 24)], tokenizer.eos_id)[0])


def _shape(config: Any) -> dict[str, Any]:
    names = ("vocab_size", "window", "stride", "max_positions")
    return {name: getattr(config, name) for name in names}


def test_an_adapter_changes_the_behaviour_it_was_trained_for(
    pipeline: Pipeline, adapter: Path
) -> None:
    prompt = "Bonjour, je suis le docteur numéro 3."
    assert answer(pipeline, None, prompt) == "Bonjour !"
    assert answer(pipeline, adapter, prompt) == "Ohé !"


def test_a_killed_run_ends_with_the_same_loss_curve(
    pipeline: Pipeline, greetings: Path, adapter: Path
) -> None:
    out = pipeline.root / "ahoy-killed"
    words = (
        "train", "finetune", pipeline.model, greetings, out,
        "--recipe", pipeline.recipe("finetune", RECIPE), "--device", "cpu",
    )  # fmt: skip
    process = start(*words)
    wait_for_step(out / "run", random.randrange(5, 55))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    avikam(*words)
    curves = [[r["loss"] for r in read_metrics(f / "run/metrics.jsonl")] for f in (adapter, out)]
    assert len(curves[0]) == 3 * 10 + 2 * 20
    assert curves[1] == pytest.approx(curves[0], abs=1e-3)


def test_phases_freeze_and_release_layers(adapter: Path) -> None:
    rows = read_metrics(adapter / "run" / "metrics.jsonl")
    assert {row["layers"] for row in rows if row["phase"] == 1} == {1}
    assert [row["layers"] for row in rows if row["phase"] == 2][-1] == 2


def lively_adapters(model: nn.Module, seed: int = 3) -> Adapters:
    """Adapters whose B is not zero."""
    adapters = Adapters(model.config, 4, 8.0, 0.0, seed)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    for factor in adapters.up.values():
        factor.data.normal_(std=0.1, generator=generator)
    return adapters.eval()


def logits_of(model: Any, tokens: list[int], adapt: Any = None) -> Tensor:
    batch = one_per_row([_counted([*tokens, 0])], torch.device("cpu"))
    with torch.no_grad():
        return torch.as_tensor(model.logits(hidden_states(model, batch, adapt=adapt))[0])


def _counted(tokens: list[int]) -> Any:
    from avikam.trainer.examples import Example

    return Example(tokens, [True] * len(tokens))


SHAPES: list[dict[str, Any]] = [
    {},
    {"num_heads": 8, "num_kv_heads": 4},
    {"feed_forward": "swiglu", "layer_types": ("full", "hybrid")},
]


@pytest.mark.parametrize("shape", SHAPES, ids=["multi-head", "grouped", "swiglu with a full layer"])
def test_peft_our_worker_and_a_merge_give_the_same_logits(
    tmp_path: Path, shape: dict[str, Any]
) -> None:
    from peft import PeftModel

    model = tiny_model(spread=3.0, **shape)
    adapters = lively_adapters(model)
    write_adapter(tmp_path, adapters, "avikam1-test")
    tokens = random_tokens(random.Random(0), 30)
    trained = logits_of(model, tokens, adapters.adapt)
    assert (trained - logits_of(model, tokens)).abs().max() > 0.1

    plain = PlainModel(model.config, {n: w.detach() for n, w in model.state_dict().items()})
    with torch.no_grad():
        torch.testing.assert_close(
            plain(torch.tensor(tokens)), logits_of(model, tokens), atol=1e-3, rtol=0
        )
        in_peft = PeftModel.from_pretrained(plain, str(tmp_path))(torch.tensor(tokens))
    torch.testing.assert_close(in_peft, trained, atol=1e-3, rtol=0)

    read = read_adapter(tmp_path, model.config)
    applied = AppliedAdapter(read, exact=False)
    in_worker = worker_logits(model, tokens, applied)
    torch.testing.assert_close(in_worker, trained, atol=1e-3, rtol=0)

    weights = merged(dict(model.state_dict()), read, model.config)
    other = tiny_model(**shape)
    other.load_state_dict({**weights, "head.weight": weights["embed.weight"]})
    torch.testing.assert_close(logits_of(other, tokens), trained, atol=1e-3, rtol=0)


def worker_logits(model: Any, tokens: list[int], applied: AppliedAdapter) -> Tensor:
    """Through the hook that the engine uses: rows of a flat batch."""
    rows = adapt_rows([(applied, torch.arange(len(tokens)))])

    def adapt(layer: int, projection: str, x: Tensor, out: Tensor) -> Tensor:
        return rows(layer, projection, x.flatten(0, 1), out.flatten(0, 1)).view_as(out)

    return logits_of(model, tokens, adapt)


def test_packed_rows_are_a_permutation_of_the_q_and_v_rows() -> None:
    config = tiny_model(num_heads=8, num_kv_heads=4).config
    q, v = packed_rows(config, "q_proj"), packed_rows(config, "v_proj")
    assert len(q) == config.hidden_size
    assert len(v) == config.num_kv_heads * config.head_dim
    assert not set(q.tolist()) & set(v.tolist())
    # group 0 packs two q heads, one k head, one v head; its v rows start after three heads
    assert v[0] == 3 * config.head_dim


def test_fresh_adapters_change_nothing_and_follow_the_stated_distribution() -> None:
    model = tiny_model(spread=1.0)
    adapters = Adapters(model.config, 64, 128.0, 0.0, 0)
    tokens = random_tokens(random.Random(0), 20)
    assert torch.equal(logits_of(model, tokens, adapters.adapt), logits_of(model, tokens))
    spread = torch.cat([a.detach().flatten() for a in adapters.down.values()]).std()
    assert float(spread) == pytest.approx(64**-0.5, rel=0.05)


@pytest.mark.parametrize("kind", ["int8", "bitsandbytes"])
def test_gradients_reach_adapters_through_8_bit_weights(kind: str) -> None:
    if kind == "bitsandbytes":
        pytest.importorskip("bitsandbytes", reason="an optional package")
    model = tiny_model(spread=3.0)
    plain = logits_of(model, list(range(20)))
    quantize_base(model, kind)
    coarse = logits_of(model, list(range(20)))
    assert float((coarse - plain).norm() / plain.norm()) < 0.05
    adapters = lively_adapters(model)
    batch = one_per_row([random_example(random.Random(0), 20)], torch.device("cpu"))
    hidden_states(model, batch, adapt=adapters.adapt).square().mean().backward()
    assert all(f.grad is not None and bool(f.grad.any()) for f in adapters.parameters())


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 40))
def test_released_layers_only_grow_and_reach_all(
    frozen: float, unfreeze: float, layers: int
) -> None:
    phase = Phase(epochs=1, rate=1.0, batch=1, warmup=0.0, frozen=frozen, unfreeze=unfreeze)
    seen = [released_layers(phase, layers, share / 20) for share in range(21)]
    assert all(a <= b for a, b in pairwise(seen))
    assert seen[0] == frozenset(range(int(layers * frozen), layers))
    if unfreeze:
        assert seen[-1] == frozenset(range(layers))


def test_recomputed_layers_are_every_eighth_or_those_named() -> None:
    assert recomputed_layers(FinetuneRecipe(), 16) == {7, 15}
    assert recomputed_layers(FinetuneRecipe(recompute_layers=(0, 5)), 6) == {0, 5}
    with pytest.raises(ValueError, match=r"names 6; the model has 0\.\.5"):
        recomputed_layers(FinetuneRecipe(recompute_layers=(6,)), 6)


def test_the_layers_with_the_largest_gradients_are_chosen() -> None:
    model = tiny_model(num_layers=4)
    adapters = lively_adapters(model)
    choice = LayerChoice(FinetuneRecipe(adapted_layers=2, choose_every=10))
    released = frozenset({0, 1, 3})
    choice.before(adapters, released, 0)
    for layer, size in ((0, 5.0), (1, 0.1), (3, 2.0)):
        for factor in adapters.of_layer(layer):
            factor.grad = torch.full_like(factor, size)
    choice.after(adapters, released, 0)
    assert choice.chosen == {0, 3}
    assert all(factor.grad is None for factor in adapters.of_layer(1))
    choice.before(adapters, released, 1)
    learning = {n for n in range(4) if adapters.of_layer(n)[0].requires_grad}
    assert learning == {0, 3}


def test_dropout_rises_with_perplexity_and_falls_with_it() -> None:
    dropout = AdaptiveDropout(0.1)
    assert dropout.observe(10.0) < 0.1
    before = dropout.rate
    assert dropout.observe(12.0) > before
    held = dropout.rate
    assert dropout.observe(10.0) == held
    for _ in range(50):
        dropout.observe(20.0)
    assert dropout.rate == pytest.approx(0.3)


def test_the_loss_is_cross_entropy_plus_smoothing_plus_norm() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 11), torch.randint(0, 11, (5,))
    weights = [nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([4.0]))]
    plain = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    assert regularized_loss(logits, targets, weights, 0.0, 0.0) == pytest.approx(float(plain))
    probabilities = logits.log_softmax(-1)
    uniform = torch.full((11,), 1 / 11)
    divergence = torch.nn.functional.kl_div(probabilities, uniform, reduction="sum")
    assert float(smoothing(probabilities).sum()) == pytest.approx(float(divergence), rel=1e-5)
    whole = regularized_loss(logits, targets, weights, 0.1, 0.01)
    whole = whole.detach()
    expected = float(plain) + 0.1 * float(divergence) + 0.01 * 5.0 * 5
    assert float(whole) == pytest.approx(expected, rel=1e-5)


def test_the_specified_recipe_is_the_default() -> None:
    first, second = FinetuneRecipe().phases
    assert (first.epochs, first.rate, first.batch, first.warmup) == (3, 5e-5, 64, 0.10)
    assert (second.epochs, second.rate, second.batch, second.warmup) == (2, 1e-5, 32, 0.05)
    recipe = FinetuneRecipe()
    assert (recipe.rank, recipe.l1, recipe.l2, recipe.decay) == (64, 0.0, 0.0, 0.01)
    assert (recipe.betas, recipe.epsilon, recipe.dropout) == ((0.9, 0.999), 1e-8, 0.1)


def test_one_conversation_cannot_be_split(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(ahoy(random.Random(0))), encoding="utf-8")
    printed = avikam("train", "finetune", pipeline.model, tmp_path, tmp_path / "out", status=2)
    assert "one conversation cannot be trained on and held out; give two or more" in printed


def test_the_shipped_int8_model_takes_the_adapter(pipeline: Pipeline, adapter: Path) -> None:
    checkpoint = load_checkpoint(pipeline.model)
    model = load_model(checkpoint)
    read = read_adapter(adapter, checkpoint.config)
    tokens = random_tokens(random.Random(0), 12, checkpoint.config.vocab_size)
    exact = worker_logits(model, tokens, AppliedAdapter(read, exact=True))
    assert (exact - logits_of(model, tokens)).abs().max() > 0.1
