"""Held-out nats of flows trained under ``precision="auto"`` and in float32, over seeds: are they the same?

``python -m benchmarks.precision`` prints a table and writes it to ``benchmarks/results/precision.md``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch

import diffeo
from benchmarks.tables import Array, tables
from diffeo.bijections import Chain, Coupling, Mask
from diffeo.conditioners import MLP
from diffeo.distributions import StandardNormal
from diffeo.kernels.native import has_bfloat16
from diffeo.laws import Affine, Inverted, Law, RationalQuadratic

LAWS: dict[str, Law] = {"affine": Affine(2.0), "RQ spline": Inverted(RationalQuadratic(8))}
RESULT = Path(__file__).parent / "results" / "precision.md"
MOST = 100_000, 20_000


def flow_of(law: Law, features: int) -> diffeo.Flow:
    """Return six couplings with two hidden layers of 128: "auto" takes bfloat16 where there is any."""
    layers = []
    for k in range(6):
        mask = Mask.alternating(features, flip=k % 2 == 1)
        network = MLP(mask.n_passed, mask.n_moved, law.n_params, hidden=(128, 128), activation="relu")
        layers.append(Coupling(law, network, mask))
    return diffeo.Flow(StandardNormal(features), Chain(*layers))


def nats(law: Law, train: Array, held: Array, precision: str, seed: int, steps: int) -> float:
    """Return the mean log-density of held-out rows after a fit, the best that it met."""
    torch.manual_seed(seed)
    config = diffeo.TrainConfig(max_steps=steps, batch_size=512, seed=seed, precision=precision)
    flow = flow_of(law, train.shape[1])
    return -diffeo.fit(flow, train, validation=held, config=config, progress=False).best_held_out_nats


def main() -> None:
    """Train, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DIFFEO_DATA"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if not (has_bfloat16() or torch.cuda.is_available()):
        parser.error(
            "neither this processor nor a GPU multiplies in bfloat16: there is nothing to compare."
        )
    found, note = tables(None if options.data is None else Path(options.data))
    lines = [
        f"Held-out nats after {options.steps} steps of 512 rows: mean and standard deviation of "
        f"{options.seeds} seeds. {note}",
        "",
        "| table | law | float32 | auto | auto − float32, ± its standard error |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, (train, held) in found.items():
        for law in LAWS:
            runs = {
                precision: np.array(
                    [
                        nats(LAWS[law], train[: MOST[0]], held[: MOST[1]], precision, seed, options.steps)
                        for seed in range(options.seeds)
                    ]
                )
                for precision in ("float32", "auto")
            }
            spread = {precision: run.std(ddof=1) for precision, run in runs.items()}
            error = np.hypot(*spread.values()) / np.sqrt(options.seeds)
            cells = [f"{run.mean():.3f} ± {spread[precision]:.3f}" for precision, run in runs.items()]
            gap = runs["auto"].mean() - runs["float32"].mean()
            lines.append(f"| {name} | {law} | {' | '.join(cells)} | {gap:+.3f} ± {error:.3f} |")
            print(lines[-1], flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
