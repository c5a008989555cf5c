"""Learning-rate shapes, as fractions of the peak over progress 0..1."""

from __future__ import annotations


def warm_stable_decay(progress: float, warmup: float = 0.02, decay: float = 0.45) -> float:
    """Linear rise, plateau, linear fall to zero (Hu et al. 2024, arXiv 2404.06395).

    >>> [round(warm_stable_decay(p), 2) for p in (0.0, 0.01, 0.3, 0.775, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    return min(1.0, max(0.0, (1.0 - progress) / decay))


def triangular(step: int, total: int, base: float, minimum: float, warmup: int = 0) -> float:
    """The specification's fine-tuning rate ``base * (1 - t/T) + min * (t/T)``, after a warm-up.

    >>> triangular(0, 10, 1.0, 0.0), triangular(5, 10, 1.0, 0.0), triangular(10, 10, 1.0, 0.2)
    (1.0, 0.5, 0.2)
    """
    if step < warmup:
        return base * (step + 1) / warmup
    share = (step - warmup) / max(1, total - warmup)
    return base * (1 - share) + minimum * share
