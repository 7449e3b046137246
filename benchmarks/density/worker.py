"""One process, one fit: read a split, fit within the seconds, score the test rows, say it in JSON.

    python -m benchmarks.density.worker METHOD FOLDER SECONDS SEED

FOLDER holds ``parts.npz`` (numeric: train, validation, test) or ``train.parquet`` and ``test.parquet``
(native); the answer is written beside them, into ``answer.json``: seconds of fitting and scoring, the test
nats a row, the means of 20 blocks of test rows (from which paired differences get their standard errors),
and how many rows had no finite log-density. Imports are not timed; all else that ``fit`` does is,
compilation too.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.density.methods import Fitted, Lacks, method
from benchmarks.density.protocol import Array

#: Blocks that the test rows are dealt into.
BLOCKS = 20


def measured(name: str, folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Return the answer of one method."""
    native = not (folder / "parts.npz").exists()
    try:
        fit = method(name, native)
        rows, test = _frames(folder) if native else _arrays(folder)
        begun = time.perf_counter()
        fitted = fit(*rows, seconds, seed)
        return {"fit_seconds": time.perf_counter() - begun, **scored(fitted, test)}
    except Lacks as lacks:
        return {"missing": str(lacks)}
    except Exception as error:
        lines = str(error).splitlines() or [""]
        return {"error": f"{type(error).__name__}: {lines[0][:300]}"}


def scored(fitted: Fitted, test: Any) -> dict[str, Any]:
    """Return what a density says of the test rows.

    Returns:
        nats: the mean over all rows, None unless every row has a finite log-density.
        finite_nats: the mean over those that have.
        impossible, undefined: how many rows have log-density −∞, or NaN or +∞.
        blocks: the mean over every 20th row from each of the first 20 on; None where a block has no row.
    """
    begun = time.perf_counter()
    found: Array = np.asarray(fitted.log_prob(test), np.float64)
    seconds = time.perf_counter() - begun
    if found.shape != (len(test),):
        raise ValueError(f"log_prob returned shape {found.shape} for {len(test)} rows")
    finite = np.isfinite(found)
    impossible = int(np.isneginf(found).sum())
    mean = float(found[finite].mean()) if finite.any() else None
    return {
        "score_seconds": seconds,
        "nats": mean if finite.all() else None,
        "finite_nats": mean,
        "impossible": impossible,
        "undefined": int((~finite).sum()) - impossible,
        "blocks": [_mean(found[k::BLOCKS]) for k in range(BLOCKS)],
        "told": fitted.told,
    }


def _mean(block: Array) -> float | None:
    finite = block[np.isfinite(block)]
    return float(finite.mean()) if len(finite) else None


def _arrays(folder: Path) -> tuple[tuple[Array, Array], Array]:
    with np.load(folder / "parts.npz") as z:
        return (z["train"], z["validation"]), z["test"]


def _frames(folder: Path) -> tuple[tuple[Any], Any]:
    import polars as pl

    return (pl.read_parquet(folder / "train.parquet"),), pl.read_parquet(folder / "test.parquet")


def main(name: str, folder: str, seconds: str, seed: str, say: Callable[[str], Any] = print) -> None:
    """Measure, and write the answer in one piece."""
    warnings.simplefilter("ignore")
    answer = measured(name, Path(folder), float(seconds), int(seed))
    half = Path(folder) / "answer.part"
    half.write_text(json.dumps(answer, allow_nan=False), "utf-8")
    half.replace(Path(folder) / "answer.json")
    say(answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
