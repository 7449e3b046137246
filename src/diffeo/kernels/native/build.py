"""The kernels in ``source/``, compiled once for this processor and kept in the user's cache."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parent / "source"

#: No option that would let a formula be rearranged: what is written is what is computed.
FLAGS = (
    "-std=gnu++17",
    "-O3",
    "-march=native",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
)

#: Seconds that a compiler is given.
PATIENCE = 120.0


def kept_at() -> Path | None:
    """Return where the compiled library of these sources, this compiler and this processor is kept.

    ``DIFFEO_CACHE`` names the folder; otherwise it is ``diffeo`` in the user's cache. None where the user
    has no home.
    """
    named = os.environ.get("DIFFEO_CACHE")
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # a user of a container, whom the system does not know
        cache = None
    if not named and cache is None:
        return None
    folder = Path(named) if named else Path(str(cache)) / "diffeo"
    return folder / f"native-{_digest(_compiler())[:24]}.so"


@functools.lru_cache
def _digest(compiler: str | None) -> str:
    """Return what tells these sources, on this processor, by this compiler, from all others."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update(repr((FLAGS, compiler, platform.machine(), _processor())).encode())
    return digest.hexdigest()


def is_kept(path: Path | None) -> bool:
    """Return whether there is a compiled library at ``path``; False where one may not look."""
    try:
        return path is not None and path.is_file()
    except OSError:  # a home of another user
        return False


def build() -> Path | None:
    """Return the compiled library, compiling it where it is not kept yet; None where that cannot be done.

    What cannot be compiled is said once, in the log: the kernels are a faster way of what torch does too.
    """
    path = kept_at()
    if path is None:
        _say("the user has no home to keep them in (DIFFEO_CACHE names another folder)")
        return None
    if is_kept(path):
        return path
    compiler = _compiler()
    if compiler is None:
        _say("no C++ compiler was found (CXX, c++, g++, clang++)")
        return None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            aside = Path(folder) / path.name
            for openmp in (["-fopenmp"], []):  # without it the kernels run on one thread
                command = [*shlex.split(compiler), *FLAGS, *openmp, str(SOURCE / "diffeo.cpp")]
                done = subprocess.run(
                    [*command, "-o", str(aside)], capture_output=True, timeout=PATIENCE, check=False
                )
                if done.returncode == 0:
                    os.replace(aside, path)  # whole or not there, whoever else is compiling
                    return path
    except (OSError, ValueError, subprocess.SubprocessError) as error:  # ValueError: CXX is no command
        _say(str(error))
        return None
    _say(done.stderr.decode(errors="replace")[-300:])
    return None


def _compiler() -> str | None:
    named = os.environ.get("CXX")
    if named:
        return named
    return next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)


def _processor() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about = {line.partition(":")[0].strip(): line for line in lines}
        return about.get("model name", "") + about.get("flags", about.get("Features", ""))
    return platform.processor()


def _say(reason: str) -> None:
    logging.getLogger("diffeo.kernels").info("the compiled kernels are not used: %s", reason)
