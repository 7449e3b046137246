"""Memory of a training step of Glow, of few steps and of many: activations kept, and recovered.

    python -m benchmarks.images.memory [--steps 10 100] [--rows 16]

Each figure is the most that a fresh process held during a later step, less what it held between steps:
activations and gradients. Parameters grow with the number of steps of flow, and so do their gradients; what
is told beside it is what is left without these.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

import torch

from benchmarks.resident import Memory
from diffeo.bijections import set_memory
from diffeo.images import Glow

MEBI = 2**20

#: Of the images, and channels of the networks.
SHAPE, WIDTH = (3, 32, 32), 32


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each number of steps and each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", nargs="+", type=int, default=[10, 100])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--one", nargs=2, metavar=("STEPS", "MEMORY"), help="measure one, in this process")
    asked = parser.parse_args(arguments)
    if asked.one:
        peak, gradients = measured(int(asked.one[0]), asked.one[1], asked.rows)
        print(f"| {asked.one[0]} | {asked.one[1]} | {peak / MEBI:.0f} | {(peak - gradients) / MEBI:.0f} |")
        return
    print("| steps | memory | MiB a training step | of these not gradients |")
    print("| --- | --- | --- | --- |", flush=True)
    for memory in ("full", "constant"):
        for steps in asked.steps:
            one = [sys.executable, "-m", "benchmarks.images.memory", "--rows", str(asked.rows)]
            subprocess.run([*one, "--one", str(steps), memory], check=True)


def measured(steps: int, memory: str, rows: int) -> tuple[int, int]:
    """Return the bytes of a training step, and those of the gradients in it."""
    torch.manual_seed(0)
    flow = set_memory(Glow(SHAPE, levels=1, steps=steps, width=WIDTH), memory).train()
    x = torch.randn(rows, *SHAPE)
    flow.initialise(x)
    told = Memory("cpu")
    told.before()
    for step in range(4):
        if step == 2:
            told.between()
        flow.zero_grad(set_to_none=True)
        (-flow.log_prob(x).mean()).backward()
    flow.zero_grad(set_to_none=True)
    found = told.after()
    return found["step"], sum(p.numel() * p.element_size() for p in flow.parameters())


if __name__ == "__main__":
    main()
