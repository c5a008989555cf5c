"""The CPU engine beside llama.cpp and transformers, in one run: ``build/bench/engine.json``.

python -m benchmarks.engine --sizes avikam1-60m,avikam1-260m --threads 2 --level avx2
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
from avikam.model.native.library import load_library
from benchmarks.figures import Peer, Speed, measure
from benchmarks.llama_cpp_peer import RANDOM, random_llama
from benchmarks.llama_shape import llama_like
from benchmarks.neighbour import beside_a_neighbour
from benchmarks.ours import random_ours
from benchmarks.smollm2 import llama_cpp_smollm2, our_smollm2, smollm2_missing
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
        "machine": _machine(options.level),
        "threads": options.threads,
        "torch": torch.__version__,
        "memory_gb_s": round(_memory_speed(), 1),
        "targets": TARGETS,
        "skipped": _missing(),
        "speeds": {},
        **{name: {} for name in FIGURES},
        "against_transformers": {name: {} for name in FIGURES},
        "context_step_ratio": {},
        "busy": {},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in filter(None, options.sizes.split(",")):
        _add_size(report, preset(name), options)
        _write(report, options.out)
    if options.smollm2 and "smollm2" not in report["skipped"]:
        _add_smollm2(report, options)
        _write(report, options.out)
    if options.variants:
        report["variants"] = measure_variants(options.rounds, options.seconds, options.level)
        _write(report, options.out)
        print(variants_table(report["variants"]))
    print(f"\nwrote {options.out}")


def _write(report: dict[str, Any], out: Path) -> None:
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _add_smollm2(report: dict[str, Any], options: argparse.Namespace) -> None:
    """Measure the real model: each of our lines against the best peer that ran, by figure."""
    ours = our_smollm2(options.level)
    peers: list[Peer] = []
    if "llama.cpp" not in report["skipped"]:
        peers += llama_cpp_smollm2(options.out.parent, options.threads)
    speeds = measure([*ours, *peers], options.rounds, options.seconds)
    report["speeds"]["smollm2-135m"] = {name: asdict(speed) for name, speed in speeds.items()}
    for figure in FIGURES:
        best = max((getattr(speeds[peer.name], figure) for peer in peers), default=None)
        for line in ours if best else []:
            report[figure][line.name] = round(getattr(speeds[line.name], figure) / best, 2)
    counts = {peer.name: peer.parameters for peer in [*ours, *peers]}
    print(_table("smollm2-135m", ours[0].name, speeds, counts))
    report["busy"]["smollm2-135m-int8"] = beside_a_neighbour(ours[0], options.threads)
    for peer in peers:
        peer.close()


def _add_size(report: dict[str, Any], config: ModelConfig, options: argparse.Namespace) -> None:
    """Measure one size and add its speeds and ratios."""
    ours = random_ours(config, level=options.level)
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
        if RANDOM in ratios:
            report[figure][config.name] = ratios[RANDOM]
        report["against_transformers"][figure][config.name] = {
            name: ratio for name, ratio in ratios.items() if name.startswith("transformers")
        }
    print(_table(config.name, ours.name, speeds, counts))
    for peer in peers:
        peer.close()
    del peers, ours
    gc.collect()


def _peers(
    skipped: dict[str, str], config: ModelConfig, options: argparse.Namespace
) -> Iterator[Peer]:
    shape = llama_like(config)
    if options.torch:
        yield random_ours(config, native=False)
    if "llama.cpp" not in skipped:
        yield random_llama(options.out.parent, shape, options.threads)
    if "transformers" not in skipped:
        for form in ("float32", "bfloat16", "int8"):
            yield Transformers(shape, form)


def _missing() -> dict[str, str]:
    """Peers that are not installed, and why they are left out."""
    needed = {"llama.cpp": ("llama_cpp", "gguf"), "transformers": ("transformers",)}
    missing = {
        peer: f"{module} is not installed: make bench-peers"
        for peer, modules in needed.items()
        for module in modules
        if importlib.util.find_spec(module) is None
    }
    return missing | ({"smollm2": smollm2_missing()} if smollm2_missing() else {})


def _machine(level: str) -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    model = next((line.partition(": ")[2] for line in lines if "model name" in line), "")
    return f"{model or platform.processor()}, level {load_library(level).level}"


def _memory_speed() -> float:
    """GB/s at which the threads read a tensor that no cache holds."""
    block = torch.ones(2**28, dtype=torch.uint8).view(torch.int64)
    times = []
    for _ in range(5):
        before = time.perf_counter()
        block.sum()
        times.append(time.perf_counter() - before)
    return block.nbytes / min(times) / 1e9


def _table(title: str, ours: str, speeds: dict[str, Speed], counts: dict[str, int]) -> str:
    head = f"\n{title:28} {'parameters':>12} " + " ".join(f"{n:>16}" for n in FIGURES)
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
    parser.add_argument(
        "--level", default="", help="of our native steps: avx2, avx-vnni or avx512-vnni; the best"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="turns that each engine takes")
    parser.add_argument("--seconds", type=float, default=1.0, help="per figure and turn")
    parser.add_argument(
        "--variants",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also a mixture of experts and four-bit weights",
    )
    parser.add_argument(
        "--smollm2",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also SmolLM2-135M, where its package is installed",
    )
    parser.add_argument("--torch", action="store_true", help="also our path through PyTorch")
    parser.add_argument("--out", type=Path, default=Path("build/bench/engine.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
