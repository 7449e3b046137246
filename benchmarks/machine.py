"""The machine, in words that name no one: processor, cores, accelerator, versions."""

from __future__ import annotations

import os
import platform
import re
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

#: The largest share of the processors that others may use while figures are taken.
QUIET = 0.1

PACKAGES = (
    "diffeo",
    "torch",
    "zuko",
    "nflows",
    "normflows",
    "torchflows",
    "FrEIA",
    "jax",
    "jaxlib",
    "flowjax",
    "equinox",
    "optax",
    "distrax",
    "dm-haiku",
    "tfp-nightly",
    "numpy",
)


def cores() -> int:
    """Return the physical cores that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    places = {
        tuple(re.findall(r"^(?:physical id|core id)\s*:\s*(\d+)", block, re.M))
        for block in _cpuinfo().split("\n\n")
        if block.strip()
    }
    return min(allowed, len(places)) if places and () not in places else allowed


def processor() -> str:
    """Return the processor's name."""
    found = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.M)
    return found[1].strip() if found else platform.processor() or platform.machine()


def facts(gpu: str = "") -> dict[str, Any]:
    """Return what the figures depend on."""
    flags = set((re.search(r"^flags\s*:\s*(.+)$", _cpuinfo(), re.M) or [""])[0].split())
    of_interest = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "processor": processor(),
        "cores": cores(),
        "instructions": [flag for flag in of_interest if flag in flags],
        "gpu": gpu,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "date": datetime.now(UTC).date().isoformat(),
    }


def slug(found: dict[str, Any]) -> str:
    """Return a name for files: what decides the figures of the kernels is in it.

    >>> slug({"processor": "AMD EPYC", "cores": 2, "gpu": "", "instructions": ["avx2", "avx512f"]})
    'amd-epyc-avx512f-2-cores'
    """
    widest = (found.get("instructions") or [""])[-1]
    words = found["gpu"] or f"{found['processor']} {widest} {found['cores']} cores"
    words = re.sub(r"\(r\)|\(tm\)|cpu|processor|@.*ghz", " ", words.lower())
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-")


def environment(threads: int | None = None) -> dict[str, str]:
    """Return variables that give a worker its threads, by default as many as there are physical cores."""
    count = str(threads or cores())
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, count), "TF_CPP_MIN_LOG_LEVEL": "3"}


def busy(seconds: float = 0.3) -> float | None:
    """Return the share of our processors that others use while this program waits; None off Linux.

    Ours are those that this process may run on: a program that is kept to others (by ``taskset``) shares
    the memory with us, and no processor.
    """
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}

    def used() -> tuple[int, int]:
        lines = [line.split() for line in stat.read_text().splitlines()]
        times = [[int(word) for word in words[1:9]] for words in lines if words[0] in ours]
        whole, idle = sum(map(sum, times)), sum(each[3] + each[4] for each in times)  # 4: waits for a disk
        return whole - idle, whole

    first = used()
    time.sleep(seconds)
    last = used()
    return (last[0] - first[0]) / max(1, last[1] - first[1])


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
