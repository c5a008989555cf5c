"""Generate services/avikam/v1 from proto/; with --check, fail when the two have drifted apart.

The generators are pinned in constraints.txt, so equal .proto files give equal stubs everywhere.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTO = ROOT / "proto"
STUBS = ROOT / "services" / "avikam" / "v1"


def generate(target: Path, proto: Path = PROTO) -> Path:
    """Write the stubs under ``target`` and return the folder that holds them."""
    sources = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    plugin = Path(sys.executable).with_name("protoc-gen-mypy_grpc")
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={proto}"),
            *(f"--python_out={target}", f"--pyi_out={target}", f"--grpc_python_out={target}"),
            *(f"--plugin=protoc-gen-mypy_grpc={plugin}", f"--mypy_grpc_out=quiet:{target}"),
            *sources,
        ],
        check=True,
    )
    return target / "avikam" / "v1"


def differences(fresh: Path, kept: Path = STUBS) -> list[str]:
    """Names of stub files that ``kept`` lacks, has too many, or has otherwise."""
    wanted = {path.name: path.read_bytes() for path in fresh.glob("*_pb2*.py*")}
    present = {path.name: path.read_bytes() for path in kept.glob("*_pb2*.py*")}
    return sorted(
        name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, report drift")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        drifted = differences(fresh)
        if check:
            for name in drifted:
                print(f"services/avikam/v1/{name} differs from proto/: run `make proto`")
            return 1 if drifted else 0
        for name in drifted:
            (STUBS / name).unlink(missing_ok=True)
            if (fresh / name).exists():
                shutil.copyfile(fresh / name, STUBS / name)
            print(f"updated services/avikam/v1/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
