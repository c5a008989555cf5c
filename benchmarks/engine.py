"""The CPU engine beside llama.cpp and transformers, in one run: ``build/bench/engine.json``.

python -m benchmarks.engine --sizes avikam1-60m,avikam1-260m --threads 2
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import logging
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from avikam.model.config import ModelConfig, preset
from benchmarks.figures import Peer, Speed, measure
from benchmarks.llama_cpp_peer import LlamaCpp
from benchmarks.llama_shape import llama_like
from benchmarks.ours import Ours
from benchmarks.transformers_peer import Transformers
from benchmarks.variants import measure_variants, variants_table

FIGURES = ("decode_1", "decode_16", "prefill_256")
TARGETS = {"decode_1": 1.0, "decode_16": 1.5, "prefill_256": 2.5, "context_step_ratio": 1.15}


def main() -> None:
    """Measure, write the JSON, print the tables."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {
        "machine": _machine(),
        "threads": options.threads,
        "torch": torch.__version__,
        "memory_gb_s": round(_memory_speed(), 1),
        "targets": TARGETS,
        "skipped": _missing(),
        "speeds": {},
        **{name: {} for name in FIGURES},
        "against_transformers": {name: {} for name in FIGURES},
        "context_step_ratio": {},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.sizes.split(","):
        _add_size(report, preset(name), options)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.variants:
        report["variants"] = measure_variants(options.rounds, options.seconds)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(variants_table(report["variants"]))
    print(f"\nwrote {options.out}")


def _add_size(report: dict[str, Any], config: ModelConfig, options: argparse.Namespace) -> None:
    """Measure one size and add its speeds and ratios."""
    ours = Ours(config, native=True)
    report["context_step_ratio"][config.name] = round(ours.context_step_ratio(options.seconds), 3)
    peers: list[Peer] = [ours, *_peers(report["skipped"], config, options)]
    speeds = measure(peers, options.rounds, options.seconds)
    counts = {peer.name: peer.parameters for peer in peers}
    report["speeds"][config.name] = {
        name: {"parameters": counts[name], **asdict(speed)} for name, speed in speeds.items()
    }
    for figure in FIGURES:
        mine = getattr(speeds[ours.name], figure)
        ratios = {n: round(mine / getattr(s, figure), 2) for n, s in speeds.items()}
        if LlamaCpp.name in ratios:
            report[figure][config.name] = ratios[LlamaCpp.name]
        report["against_transformers"][figure][config.name] = {
            name: ratio for name, ratio in ratios.items() if name.startswith("transformers")
        }
    print(_table(config, ours.name, speeds, counts))
    for peer in peers:
        peer.close()
    del peers, ours
    gc.collect()


def _peers(
    skipped: dict[str, str], config: ModelConfig, options: argparse.Namespace
) -> Iterator[Peer]:
    shape = llama_like(config)
    if options.torch:
        yield Ours(config, native=False)
    if "llama.cpp" not in skipped:
        yield LlamaCpp(options.out.parent, shape, options.threads)
    if "transformers" not in skipped:
        for form in ("float32", "bfloat16", "int8"):
            yield Transformers(shape, form)


def _missing() -> dict[str, str]:
    """Peers that are not installed, and why they are left out."""
    needed = {"llama.cpp": ("llama_cpp", "gguf"), "transformers": ("transformers",)}
    return {
        peer: f"{module} is not installed: make bench-peers"
        for peer, modules in needed.items()
        for module in modules
        if importlib.util.find_spec(module) is None
    }


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    model = next((line.partition(": ")[2] for line in lines if "model name" in line), "")
    return f"{model or platform.processor()}, {torch.backends.cpu.get_cpu_capability()}"


def _memory_speed() -> float:
    """GB/s at which the threads read a tensor that no cache holds."""
    block = torch.ones(2**28, dtype=torch.uint8).view(torch.int64)
    times = []
    for _ in range(5):
        before = time.perf_counter()
        block.sum()
        times.append(time.perf_counter() - before)
    return block.nbytes / min(times) / 1e9


def _table(config: ModelConfig, ours: str, speeds: dict[str, Speed], counts: dict[str, int]) -> str:
    head = f"\n{config.name:28} {'parameters':>12} " + " ".join(f"{n:>16}" for n in FIGURES)
    rows = [head]
    for name, speed in speeds.items():
        cells = []
        for figure in FIGURES:
            value = getattr(speed, figure)
            ratio = getattr(speeds[ours], figure) / value
            cells.append(f"{value:8,.0f} ({ratio:4.1f}x)")
        rows.append(f"{name:28} {counts[name]:>12,} " + " ".join(f"{c:>16}" for c in cells))
    return "\n".join(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="avikam1-60m,avikam1-260m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each engine takes")
    parser.add_argument("--seconds", type=float, default=1.0, help="per figure and turn")
    parser.add_argument(
        "--variants",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also a mixture of experts and four-bit weights",
    )
    parser.add_argument("--torch", action="store_true", help="also our path through PyTorch")
    parser.add_argument("--out", type=Path, default=Path("build/bench/engine.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
