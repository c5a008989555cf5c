"""The generated stubs are exactly what proto/ generates."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.generate_stubs import PROTO, differences, generate


def test_stubs_match_the_proto_files(tmp_path: Path) -> None:
    assert differences(generate(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "drifted"),
    [
        (lambda text: text.replace("uint32 top_k", "uint32 top_kk"), "generation_pb2.py"),
        (lambda text: text + "message Extra {}\n", "generation_pb2.pyi"),
    ],
)
def test_drift_is_noticed(change, drifted: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    proto = tmp_path / "proto"
    shutil.copytree(PROTO, proto)
    source = proto / "avikam" / "v1" / "generation.proto"
    source.write_text(change(source.read_text()))
    fresh = tmp_path / "stubs"
    fresh.mkdir()
    assert drifted in differences(generate(fresh, proto))


def test_a_removed_proto_file_leaves_drift(tmp_path: Path) -> None:
    fresh = generate(tmp_path)
    (fresh / "worker_pb2.py").unlink()
    assert differences(fresh) == ["worker_pb2.py"]
