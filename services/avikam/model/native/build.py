"""The native step's shared library: found ready, or compiled once and kept.

    beside this file (an image's build put it there)  ──►  cache of the user  ──►  compile

``python -m avikam.model.native.build`` compiles it beside this file, for an image whose users have
no compiler.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent
_MAIN = "step.c"
_FLAGS = (
    "-O2", "-std=gnu11", "-fPIC", "-shared", "-pthread",
    "-ffp-contract=off",  # every float operation rounds on its own: the same bits everywhere
    "-fno-math-errno", "-Wno-psabi",
)  # fmt: skip
_SECONDS = 600  # a few where nobody else needs the processor


@dataclass(frozen=True, slots=True)
class Level:
    """A kind of processor: what it needs, and how the compiler is told."""

    name: str
    needs: frozenset[str]
    flags: tuple[str, ...]


_AVX2 = frozenset({"avx2", "fma", "f16c", "bmi2"})
_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"})
LEVELS = (  # best first; all give the same bits
    Level("avx512-vnni", _AVX2 | _AVX512, ("-march=x86-64-v4", "-mavx512vnni")),
    Level("avx-vnni", _AVX2 | {"avx_vnni"}, ("-march=x86-64-v3", "-mavxvnni")),
    Level("avx2", _AVX2, ("-march=x86-64-v3",)),
)


class NativeUnavailableError(RuntimeError):
    """Why this machine runs its steps without the native library."""


def processor_levels() -> tuple[Level, ...]:
    """What this processor can run, best first.

    Raises :class:`NativeUnavailableError` where it can run nothing.
    """
    _check_platform()
    flags = _processor_flags()
    found = tuple(level for level in LEVELS if level.needs <= flags)
    if not found:
        raise NativeUnavailableError("the processor lacks AVX2")
    return found


def choose_level(name: str = "") -> Level:
    """The level called ``name``, or the best one; one that the processor lacks is refused."""
    levels = processor_levels()
    if not name:
        return levels[0]
    known = {level.name: level for level in levels}
    if name not in known:
        raise NativeUnavailableError(
            f"level {name!r} is not among this processor's: {', '.join(known)}"
        )
    return known[name]


def library_file(level: Level) -> Path:
    """The library of a level; compiled when there is none yet."""
    name = f"step-{_digest(level)}.so"
    shipped = _FOLDER / name
    if shipped.exists():
        return shipped
    folder = _cache()
    if not (folder / name).exists():
        _compile(level, folder / name)
    return folder / name


def prospect() -> str:
    """This machine's level, and where its library is or will come from; builds nothing.

    Raises :class:`NativeUnavailableError` with the reason why there will be none.
    """
    level = choose_level()
    name = f"step-{_digest(level)}.so"
    for folder in (_FOLDER, _cache_folder()):
        if (folder / name).exists():
            return f"{level.name}: {folder / name}"
    return f"{level.name}: {' '.join(_compiler())} builds it when a worker first starts"


def _check_platform() -> None:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        here = f"{platform.system()} on {platform.machine()}"
        raise NativeUnavailableError(f"it is written for Linux on x86-64, this is {here}")


def _processor_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def _digest(level: Level) -> str:
    """Names the sources and the flags: another version never meets this one's library."""
    content = hashlib.sha256(" ".join((*_FLAGS, *level.flags)).encode())
    for source in sorted((*_FOLDER.glob("*.c"), *_FOLDER.glob("*.h"))):
        content.update(source.read_bytes())
    return content.hexdigest()[:16]


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "avikam"


def _cache() -> Path:
    """A folder that only this user can write to; one for this process where there is none."""
    folder = _cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = folder.stat()
        private = owner.st_uid == os.getuid() and not owner.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if private and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="avikam-native-"))


def _compile(level: Level, target: Path) -> None:
    """Compile for ``level``; ``target`` appears whole or not at all."""
    compiler = _compiler()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        fresh = Path(folder) / target.name
        command = [
            *compiler,
            *_FLAGS,
            *_level_flags(level, compiler),
            str(_FOLDER / _MAIN),
            "-o",
            str(fresh),
            "-lm",
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own sources
                command, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NativeUnavailableError(f"{compiler[0]}: {type(error).__name__}") from error
        if done.returncode:
            first = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise NativeUnavailableError(f"{' '.join(compiler)} failed: {first}")
        fresh.replace(target)  # at once: another worker may be compiling too


def _level_flags(level: Level, compiler: list[str]) -> list[str]:
    """Zig writes the names of processors with underscores."""
    if "ziglang" not in compiler:
        return list(level.flags)
    return [
        f"-march={flag[7:].replace('-', '_')}" if flag.startswith("-march=") else flag
        for flag in level.flags
    ]


def _compiler() -> list[str]:
    """How a C compiler is called; the package ``ziglang`` brings one without a system's help."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return [found]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise NativeUnavailableError("no C compiler (cc, gcc, clang or the package ziglang) is here")


def main() -> None:
    """Compile beside this file, once for every kind of processor that the library knows."""
    try:
        _check_platform()
    except NativeUnavailableError as problem:
        sys.stderr.write(f"not built: {problem}\n")
        return
    for level in LEVELS:
        _compile(level, _FOLDER / f"step-{_digest(level)}.so")


if __name__ == "__main__":
    main()
