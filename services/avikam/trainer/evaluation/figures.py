"""Plots: the learning curve of a run, and where a layer looks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from avikam.model.masks import visible
from avikam.model.transformer import Avikam1
from avikam.trainer.evaluation.subject import Subject


def learning_curve(metrics: Path, target: Path) -> None:
    """Training loss (smoothed) and every validation loss over steps, from ``metrics.jsonl``."""
    rows = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss (nats per token)")
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    axes.plot(*zip(*_smooth(losses), strict=True), label="train", linewidth=1)
    for name in sorted({key for row in rows for key in row if key.startswith("valid/")}):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), label=name, marker=".")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(target, dpi=120)


def _smooth(points: list[tuple[int, float]], keep: float = 0.95) -> list[tuple[int, float]]:
    """Exponential moving average, corrected for its start."""
    mean, smoothed = 0.0, []
    for count, (step, value) in enumerate(points, 1):
        mean = keep * mean + (1 - keep) * value
        smoothed.append((step, mean / (1 - keep**count)))
    return smoothed


def attention_map(subject: Subject, text: str, layer: int, target: Path) -> None:
    """Heat map of ``layer``'s attention weights over ``text``, averaged over the heads."""
    layers = subject.model.config.num_layers
    if not 0 <= layer < layers:
        raise ValueError(f"attention layer {layer} does not exist; the model has 0..{layers - 1}")
    tokens = subject.tokenizer.encode_prompt(text)
    weights = attention_weights(subject.model, tokens, layer).mean(0)
    labels = [subject.tokenizer.piece(token) for token in tokens]
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.add_subplot(title=f"Attention of layer {layer}, mean over heads")
    image = axes.imshow(weights.cpu().float().numpy(), cmap="viridis")
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=6)
    axes.set_yticks(range(len(labels)), labels, fontsize=6)
    axes.set_xlabel("key")
    axes.set_ylabel("query")
    figure.colorbar(image)
    figure.savefig(target, dpi=120)


@torch.inference_mode()
def attention_weights(model: Avikam1, tokens: list[int], layer: int) -> Tensor:
    """Attention probabilities [heads, length, length] of one layer."""
    config = model.config
    positions = torch.arange(len(tokens), device=model.rotary.device)
    kept: list[Tensor] = []

    def attend(index: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = visible(positions, positions, config, config.layer_types[index])
        share = config.num_heads // config.num_kv_heads
        q, k, v = (t.transpose(0, 1).float() for t in (q, k, v))
        k, v = k.repeat_interleave(share, 0), v.repeat_interleave(share, 0)
        scores = q @ k.transpose(1, 2) / math.sqrt(config.head_dim)
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        if index == layer:
            kept.append(weights)
        return (weights @ v).transpose(0, 1).to(model.norm.weight.dtype)

    model(torch.tensor(tokens, device=positions.device), positions, attend)
    return kept[0]
