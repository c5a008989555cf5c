"""``avikam report`` writes a release into a real MLflow store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.cluster_process import ServeProcess
from tests.cli.processes import run_avikam


def test_a_release_is_recorded(
    cluster: ServeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "avikam.yaml"
    config.write_text("worker: {slots: 8, kv_redis: 'redis://:pass@host'}\n")
    load = run_avikam(
        *("bench", "serve", "--url", cluster.url, "--num-prompts=10"),
        f"--out={tmp_path / 'serve.json'}",
    )
    assert load.returncode == 0, load.stderr
    done = run_avikam(
        *("report", "v9", "--url", cluster.url, "--seconds=0", "--config", str(config)),
        *("--tracking", str(tmp_path / "mlflow"), "--out", str(tmp_path / "report")),
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("avikam-deployments")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "v9"
    assert run.info.status == "FINISHED"
    assert run.data.params["config.avikam.worker.slots"] == "8"
    assert run.data.params["config.avikam.worker.kv_redis"] == "not shown"
    assert run.data.metrics["requests"] >= 10
    assert run.data.metrics["error_rate"] == 0
    assert {"latency_p99_ms", "first_token_p50_ms", "throughput_tokens_per_second"} <= set(
        run.data.metrics
    )
    kept = json.loads((tmp_path / "report" / "v9.json").read_text())
    assert kept["metrics"] == pytest.approx(run.data.metrics)


def test_nobody_there_is_told_in_a_line(tmp_path: Path) -> None:
    done = run_avikam("report", "v9", "--url", "http://127.0.0.1:9", "--tracking", str(tmp_path))
    assert done.returncode == 2
    assert "http://127.0.0.1:9/info does not answer" in done.stderr
