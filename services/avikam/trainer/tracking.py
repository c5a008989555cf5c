"""MLflow records of runs: a folder on disk by default, a server by its URL."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_KEPT = "mlflow_run_id"


class Tracker:
    """Records of one run; this base class records nothing."""

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Settings of the run."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Figures at a step."""

    def artifact(self, path: Path) -> None:
        """A file that belongs to the run."""


class MlflowTracker(Tracker):
    """Records into the run that MLflow has open."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client = client
        self._run_id = run_id

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Record settings of the run, each at most 500 characters."""
        for name, value in values.items():
            self._client.log_param(self._run_id, name, str(value)[:500])

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record figures as of a step."""
        for name, value in values.items():
            self._client.log_metric(self._run_id, name, float(value), step=step)

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file with the run."""
        self._client.log_artifact(self._run_id, str(path))


@contextmanager
def tracked_run(
    uri: str | None, experiment: str, name: str, folder: Path | None = None
) -> Iterator[Tracker]:
    """A run in ``experiment`` at ``uri`` (a folder or ``http://...``); none records nothing.

    With ``folder`` the run's id is kept there, so that a training run that resumes goes on in the
    same record. The run is marked failed when the body raises.
    """
    if not uri:
        yield Tracker()
        return
    client = _client(uri)
    run_id = _resumed(folder) or _created(client, experiment, name)
    if folder:
        (folder / _KEPT).write_text(run_id, encoding="utf-8")
    client.update_run(run_id, status="RUNNING")
    try:
        yield MlflowTracker(client, run_id)
    except BaseException:
        client.set_terminated(run_id, status="FAILED")
        raise
    client.set_terminated(run_id)


def _resumed(folder: Path | None) -> str:
    kept = folder / _KEPT if folder else None
    return kept.read_text(encoding="utf-8").strip() if kept and kept.exists() else ""


def _created(client: Any, experiment: str, name: str) -> str:
    found = client.get_experiment_by_name(experiment)
    identity = found.experiment_id if found else client.create_experiment(experiment)
    return str(client.create_run(identity, run_name=name).info.run_id)


def _client(uri: str) -> Any:
    """A client of a folder or a server. MLflow wants to be told that a folder is meant."""
    from mlflow import MlflowClient

    if "://" in uri:
        return MlflowClient(tracking_uri=uri)
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    return MlflowClient(tracking_uri=Path(uri).resolve().as_uri())
