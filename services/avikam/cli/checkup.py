"""The doctor's examinations, one function each; none changes anything."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from avikam.gateway.settings import GatewaySettings
from avikam.operations.findings import Finding, Verdict
from avikam.worker.settings import WorkerSettings, embedded_model

PYTHONS = ((3, 11), (3, 13))
TORCHES = ((2, 11), (2, 15))
# What the int8 kernels are quick with, best first.
_CPU_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp", "asimd")
_WORKER_PACKAGES = (
    "cramjam",
    "jinja2",
    "llguidance",
    "numpy",
    "psutil",
    "safetensors",
    "sentencepiece",
    "tokenizers",
)
_REDIS = ("127.0.0.1", 6379)


def examine() -> Iterator[Finding]:
    """Every finding, in the order they are shown."""
    yield python()
    yield machine()
    yield instructions()
    yield packages()
    yield from torch_findings()
    yield optional_package("flash-attn", "quicker prefill on NVIDIA GPUs", "avikam[flash]")
    yield optional_package("bitsandbytes", "LLM.int8 and NF4 weights on GPUs", "avikam[cuda]")
    yield redis()
    yield model(embedded_model())
    yield port("gateway port", GatewaySettings().http_port, "--http-port")
    yield port("worker port", WorkerSettings().port, "--port")


def python(running: tuple[int, int] = sys.version_info[:2]) -> Finding:
    """The interpreter's version."""
    good = PYTHONS[0] <= running <= PYTHONS[1]
    return Finding(
        "python",
        Verdict.GOOD if good else Verdict.BROKEN,
        f"{platform.python_version()} at {sys.executable}",
        "" if good else "use Python 3.11, 3.12 or 3.13",
    )


def machine() -> Finding:
    """Cores and memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    detail = f"{platform.system()} {platform.machine()}, {cores} cores, {memory:.1f} GiB memory"
    return Finding("machine", Verdict.GOOD, detail)


def instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> Finding:
    """The vector instructions that int8 arithmetic runs on."""
    if not cpuinfo.exists():
        return Finding("instructions", Verdict.ABSENT, f"unknown: {cpuinfo} does not exist here")
    words = set(cpuinfo.read_text(encoding="utf-8").split())
    found = [flag for flag in _CPU_FLAGS if flag in words]
    if found:
        return Finding("instructions", Verdict.GOOD, ", ".join(found))
    remedy = "int8 runs without vector instructions, slowly; use a CPU with AVX2 or a GPU"
    return Finding("instructions", Verdict.ABSENT, "none of " + ", ".join(_CPU_FLAGS), remedy)


def packages() -> Finding:
    """What a worker imports besides torch."""
    missing = [name for name in _WORKER_PACKAGES if not _installed(name)]
    if missing:
        remedy = "pip install 'avikam[worker]'"
        return Finding("packages", Verdict.BROKEN, f"missing: {', '.join(missing)}", remedy)
    return Finding("packages", Verdict.GOOD, ", ".join(_WORKER_PACKAGES))


def torch_findings() -> Iterator[Finding]:
    """torch itself, its int8 operators and its GPUs."""
    found = _installed("torch")
    if found is None:
        remedy = "pip install 'avikam[worker]'; a gateway alone does not need it"
        yield Finding("torch", Verdict.BROKEN, "not installed", remedy)
        return
    numbers = tuple(int(part) for part in found.split("+")[0].split(".")[:2])
    good = TORCHES[0] <= numbers <= TORCHES[1]
    remedy = "" if good else "install torch 2.11 to 2.15"
    yield Finding("torch", Verdict.GOOD if good else Verdict.BROKEN, found, remedy)
    yield int8()
    yield native_step()
    yield gpu()


def int8() -> Finding:
    """The oneDNN operators that int8 weights run on without a GPU."""
    import torch

    name = "int8 on CPU"
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.onednn, "qlinear_pointwise"
    ):
        remedy = "this torch build has no oneDNN; use --weights float32 or another build"
        return Finding(name, Verdict.ABSENT, "oneDNN qlinear is not available", remedy)
    level = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    return Finding(name, Verdict.GOOD, f"oneDNN qlinear, {level}, {threads} threads")


def native_step() -> Finding:
    """The compiled int8 step: several times quicker than the same arithmetic through PyTorch."""
    from avikam.model.native.build import NativeUnavailableError, prospect

    name = "native int8"
    try:
        return Finding(name, Verdict.GOOD, prospect())
    except NativeUnavailableError as problem:
        detail = f"{problem}; int8 steps run through PyTorch, several times slower"
        missing = "compiler" in str(problem)
        remedy = "install gcc (Debian: apt-get install gcc), or pip install ziglang"
        return Finding(name, Verdict.ABSENT, detail, remedy if missing else "")


def gpu() -> Finding:
    """CUDA devices."""
    import torch

    if not torch.cuda.is_available():
        return Finding("gpu", Verdict.ABSENT, "none; the model runs on the CPU")
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_properties(index) for index in range(count)]
    detail = ", ".join(f"{each.name} ({each.total_memory / 2**30:.0f} GiB)" for each in names)
    return Finding("gpu", Verdict.GOOD, f"{detail}, CUDA {torch.version.cuda}")


def optional_package(name: str, use: str, extra: str) -> Finding:
    """A package that makes some machines better."""
    found = _installed(name)
    if found:
        return Finding(name, Verdict.GOOD, found)
    return Finding(name, Verdict.ABSENT, f"not installed ({use})", f"pip install '{extra}'")


def redis() -> Finding:
    """A Redis server on this machine: shared rate limits and caches use one."""
    host, number = _REDIS
    try:
        with socket.create_connection(_REDIS, timeout=0.3):
            return Finding("redis", Verdict.GOOD, f"a server answers at {host}:{number}")
    except OSError:
        detail = f"no server at {host}:{number}; one machine does not need it"
        return Finding("redis", Verdict.ABSENT, detail)


def model(folder: Path) -> Finding:
    """The embedded checkpoint's files against their hashes."""
    from avikam.model.manifest import manifest_problems

    problems = manifest_problems(folder)
    if problems:
        remedy = "reinstall avikam, or serve another checkpoint with --model"
        return Finding("model", Verdict.BROKEN, f"{folder}: {problems[0]}", remedy)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    return Finding("model", Verdict.GOOD, f"{folder.name}, {size:.1f} MB, whole")


def port(name: str, number: int, flag: str) -> Finding:
    """Whether a default port can be used."""
    try:
        socket.create_server(("127.0.0.1", number)).close()
    except OSError as error:
        remedy = f"something uses it already; choose another with {flag}"
        reason = os.strerror(error.errno or 0)
        return Finding(name, Verdict.ABSENT, f"{number}: {reason}", remedy)
    return Finding(name, Verdict.GOOD, f"{number} is free")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
