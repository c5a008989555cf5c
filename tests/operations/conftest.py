"""A small cluster with a fake engine, for the tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.cluster_process import ServeProcess


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """Two workers and a gateway; started once."""
    folder = tmp_path_factory.mktemp("serve")
    with ServeProcess(folder, "--engine", "fake", "--workers", "2") as serve:
        yield serve.wait_ready()
