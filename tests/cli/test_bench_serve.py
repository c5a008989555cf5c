"""``avikam bench serve`` against a small cluster: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.cluster_process import ServeProcess
from tests.cli.processes import run_avikam

# The names that vLLM's benchmark_serving writes and dashboards read.
KEYS = {
    *("date", "backend", "model_id", "tokenizer_id", "num_prompts", "request_rate", "burstiness"),
    *("max_concurrency", "duration", "completed", "failed", "total_input_tokens"),
    *("total_output_tokens", "request_throughput", "request_goodput", "output_throughput"),
    *("total_token_throughput", "input_lens", "output_lens", "ttfts", "itls", "errors"),
    *(
        f"{column}_{metric}_ms"
        for column in ("mean", "median", "std", "p99")
        for metric in ("ttft", "tpot", "itl", "e2el")
    ),
}


def test_a_run_writes_the_fields_keys(cluster: ServeProcess, tmp_path: Path) -> None:
    out = tmp_path / "serve.json"
    done = run_avikam(
        *("bench", "serve", "--url", cluster.url, "--num-prompts=20", "--request-rate=50"),
        *("--output-len=6", "--goodput=ttft:60000", f"--out={out}"),
    )
    assert done.returncode == 0, done.stderr
    assert "20 answers in" in done.stdout
    found = json.loads(out.read_text())
    assert set(found) >= KEYS
    assert found["completed"] == len(found["ttfts"]) == 20
    assert found["output_lens"] == [6] * 20
    assert all(length > 10 for length in found["input_lens"])
    assert 0 < found["mean_ttft_ms"] <= found["mean_e2el_ms"]
    # So generous a limit is kept by every answer.
    assert found["request_goodput"] == found["request_throughput"]


def test_a_failed_request_fails_the_run(cluster: ServeProcess, tmp_path: Path) -> None:
    done = run_avikam(
        *("bench", "serve", "--url", cluster.url, "--num-prompts=2", "--model=nobody"),
        f"--out={tmp_path / 'serve.json'}",
    )
    assert done.returncode == 1
    assert "error: 2 requests failed, the first: status 404" in done.stderr


def test_mistakes_are_told_in_a_line() -> None:
    for arguments, line in {
        ("--goodput=speed:1",): "--goodput speed:1 is not NAME:MILLISECONDS",
        ("--percentiles=99,x",): "--percentiles 99,x is not a list of numbers",
        ("--request-rate=0",): "--request-rate and --burstiness must be above 0",
        ("--model=m", "--prompts=/nonexistent"): "--prompts: [Errno 2] No such file",
        ("--url=http://127.0.0.1:9",): "http://127.0.0.1:9 does not list its models",
    }.items():
        done = run_avikam("bench", "serve", *arguments)
        assert done.returncode == 2
        assert line in done.stderr
