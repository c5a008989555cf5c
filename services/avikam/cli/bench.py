"""``avikam bench``: what this machine does, measured."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avikam.cli.bench_serve import serve
from avikam.cli.failure import fail
from avikam.worker.settings import embedded_model

if TYPE_CHECKING:
    from avikam.engine.kv.measure import KvFigures
    from avikam.engine.measure import EngineFigures

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Measure this machine.")


app.command()(serve)


@app.callback()
def bench() -> None:
    """Measure this machine."""


@app.command()
def engine(
    model: Annotated[
        Path | None, typer.Option(help="Checkpoint folder; the embedded model by default.")
    ] = None,
    weights: Annotated[str, typer.Option(help="As a worker's: auto, int8, int4, ...")] = "auto",
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
    dummy: Annotated[
        str, typer.Option(help="Measure a size without weights, e.g. avikam1-7b, not --model.")
    ] = "",
    streams: Annotated[str, typer.Option(help="Numbers of streams, by commas.")] = "1,4,16,32",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 lets PyTorch decide.")] = 0,
    seconds: Annotated[float, typer.Option(help="Seconds per figure.")] = 2.0,
    out: Annotated[Path, typer.Option(help="JSON to write.")] = Path("build/bench/engine.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tokens per second of prefill and of decoding, and what context costs."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    counts = _counts(streams)
    with _subject(model, dummy) as folder:
        figures = _measure(folder, weights, device, counts, seconds)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures.as_json(), indent=2) + "\n", encoding="utf-8")
    typer.echo(out.read_text("utf-8") if as_json else _table(figures))


def _counts(streams: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(number) for number in streams.split(","))
    except ValueError:
        counts = (0,)
    if min(counts) < 1:
        fail(f"--streams is {streams!r}, must be numbers of streams such as 1,4,16")
    return counts


@contextlib.contextmanager
def _subject(model: Path | None, dummy: str) -> Iterator[Path]:
    """The checkpoint to measure; that of a size without weights takes no disk and goes again."""
    if not dummy:
        yield model or embedded_model()
        return
    from avikam.model.config import ConfigError, preset
    from avikam.model.manifest import TOKENIZER
    from avikam.model.untrained import write_untrained

    tokenizer = (embedded_model() / TOKENIZER).read_bytes()
    with tempfile.TemporaryDirectory(prefix="avikam-bench-") as scratch:
        folder = Path(scratch) / "model"
        try:
            write_untrained(folder, preset(dummy), tokenizer, "int8", None)
        except ConfigError as error:
            fail(str(error))
        yield folder


def _measure(
    folder: Path, weights: str, device: str, streams: tuple[int, ...], seconds: float
) -> EngineFigures:
    import torch

    from avikam.engine.build import resolve_device, slot_cache, step_model
    from avikam.engine.device.accelerator import CudaAccelerator
    from avikam.engine.device.runner import DeviceRunner
    from avikam.engine.measure import StepBench
    from avikam.engine.roofline import measure_roofline
    from avikam.model.attention.device_slots import DeviceSlots
    from avikam.model.checkpoint import CheckpointError, load_checkpoint
    from avikam.model.loading import resolve_weight_type

    try:
        checkpoint = load_checkpoint(folder)
        place = resolve_device(device)  # type: ignore[arg-type]
        kind = resolve_weight_type(weights, checkpoint, place)  # type: ignore[arg-type]
    except CheckpointError as error:
        fail(str(error))
    cache = slot_cache(checkpoint.config, max(streams), kind, place)
    model = step_model(checkpoint, kind, place, cache)
    if not isinstance(cache, DeviceSlots):
        return StepBench(model, cache, seconds).run(streams)
    runner = DeviceRunner(model, cache, torch.tensor([], dtype=torch.int64), CudaAccelerator())
    runner.warm_up()
    bench = StepBench(model, cache, seconds, runner.decode)
    figures = bench.run(streams)
    return bench.against(figures, measure_roofline(place, torch.bfloat16), kind)


def _table(figures: EngineFigures) -> str:
    shares = figures.shares or {}
    rows = [
        f"{_parameters(figures)}, {figures.attention}, {figures.threads} threads",
        f"prefill 256 tokens    {figures.prefill_256:10,.0f} tokens/s",
        *_first_token(figures),
        *(f"decode {n:>3} streams    {rate:10,.0f} tokens/s" for n, rate in figures.decode.items()),
        f"step at 2047 / at 320 {figures.context_step_ratio:10.2f}",
        *(f"{name:21} {share:10.0%} of the device" for name, share in shares.items()),
    ]
    return "\n".join(rows)


def _first_token(figures: EngineFigures) -> list[str]:
    milliseconds = figures.first_token_512_ms
    return [] if milliseconds is None else [f"first token of 512    {milliseconds:10,.1f} ms"]


def _parameters(figures: EngineFigures) -> str:
    text = f"{figures.parameters:,} parameters"
    mixture = figures.active_parameters != figures.parameters
    return f"{text}, {figures.active_parameters:,} of them per token" if mixture else text


@app.command()
def kv(
    model: Annotated[
        Path | None, typer.Option(help="Checkpoint folder; the embedded model by default.")
    ] = None,
    weights: Annotated[str, typer.Option(help="As a worker's: auto, int8, int4, ...")] = "auto",
    tokens: Annotated[int, typer.Option(help="Length of the context; 0 is the longest.")] = 0,
    texts: Annotated[int, typer.Option(min=1, help="Texts to try an int8 copy on.")] = 4,
    redis: Annotated[str, typer.Option(help="URL of a Redis to measure with; none without.")] = "",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 lets PyTorch decide.")] = 0,
    out: Annotated[Path, typer.Option(help="JSON to write.")] = Path("build/bench/kv.json"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Size and speed of the cold forms of keys and values, and from where copying pays."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    try:
        figures = _measure_kv(model or embedded_model(), weights, tokens, texts, redis)
    except (ConnectionError, ValueError) as error:
        fail(str(error))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures.as_json(), indent=2) + "\n", encoding="utf-8")
    typer.echo(out.read_text("utf-8") if as_json else _kv_table(figures))


def _measure_kv(folder: Path, weights: str, tokens: int, texts: int, redis: str) -> KvFigures:
    from avikam.engine.build import slot_cache, step_model
    from avikam.engine.kv.measure import KvBench
    from avikam.engine.kv.redis_tier import RedisOptions, RedisTier
    from avikam.model.checkpoint import load_checkpoint
    from avikam.model.loading import load_model, resolve_weight_type

    checkpoint = load_checkpoint(folder)
    kind = resolve_weight_type(weights, checkpoint)  # type: ignore[arg-type]
    cache = slot_cache(checkpoint.config, texts, kind)
    floats = slot_cache(checkpoint.config, 1, "bfloat16")
    tier = RedisTier(RedisOptions(redis, prefix="avikam:bench", timeout=1.0)) if redis else None
    models = (step_model(checkpoint, kind, "cpu", cache), load_model(checkpoint, kind))
    bench = KvBench(models, (cache, floats))
    return bench.run(tokens or checkpoint.config.max_positions, tier)


def _kv_table(figures: KvFigures) -> str:
    def tokens(count: int | None) -> str:
        return "-" if count is None else f"{count} tokens"

    rows = [
        f"{figures.tokens} tokens, {figures.attention}, "
        f"prefill {figures.prefill_tokens_per_second:,.0f} tokens/s",
        f"{'form':24} {'bytes':>10} {'ratio':>6} {'dense':>6} {'encode':>8} {'decode':>8} MiB/s",
        *(
            f"{f.form:24} {f.bytes:10,} {f.ratio:6.2f} {f.against_dense:6.1f} "
            f"{f.encode_mib_s:8,.0f} {f.decode_mib_s:8,.0f}"
            for f in figures.forms
        ),
        f"perplexity after an int8 copy   x {figures.int8.perplexity_ratio:.5f} "
        f"+- {figures.int8.perplexity_error:.5f}, {figures.int8.places} places",
        f"same choice after an int8 copy  {figures.int8.same_choice:.2%} of tokens",
        f"host   restore {figures.host_restore_ms:8.2f} ms, pays from "
        f"{tokens(figures.host_break_even)}",
    ]
    if figures.redis_restore_ms is not None:
        rows.append(
            f"Redis  restore {figures.redis_restore_ms:8.2f} ms, pays from "
            f"{tokens(figures.redis_break_even)}"
        )
    return "\n".join(rows)
