"""Ways to multiply float32 matrices on this processor: is another faster than torch's own, and as exact?

``python -m benchmarks.products`` prints a table and writes it to
``benchmarks/results/products-<machine>.md``. A layer of a network takes three products a step, y = x Wᵀ,
∂x = ∂y W and ∂W = ∂yᵀ x. They are timed on one thread, in seconds of that thread, so that other programs
disturb them less; ways take turns, and the median counts. The error is the largest of y beside float64,
whose elements are of size 1.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.machine import facts, slug

RESULTS = Path(__file__).parent / "results"
SIZES = ((512, 128, 128), (512, 256, 256), (4096, 256, 256), (4096, 512, 512), (512, 256, 989))
ROUNDS = 9

HEAD = """Gigaflops a second of one thread's own time, and the largest error of y beside float64.
{processor} ({instructions}), torch {torch}, medians of {rounds} rounds, load meanwhile {load:.0f}.
"""

Product = Callable[[Tensor, Tensor], Tensor]


def torchs(a: Tensor, b: Tensor) -> Tensor:
    """Return a Bᵀ by torch's own choice of library."""
    return torch.nn.functional.linear(a, b)


def onednn(a: Tensor, b: Tensor) -> Tensor:
    """Return a Bᵀ by oneDNN, in float32 throughout."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


def flagged(precision: str) -> Product:
    """Return torch's product under a setting of ``torch.backends.mkldnn.matmul``, put back after each."""

    def product(a: Tensor, b: Tensor) -> Tensor:
        settings = torch.backends.mkldnn.matmul
        before = settings.fp32_precision
        settings.fp32_precision = precision
        try:
            return torchs(a, b)
        finally:
            settings.fp32_precision = before

    return product


WAYS: dict[str, Product] = {
    "torch": torchs,
    "oneDNN": onednn,
    "flag tf32": flagged("tf32"),
    "flag bf16": flagged("bf16"),
}


def seconds(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of the thread that each takes, taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            start = time.thread_time()
            way()
            taken[name].append(time.thread_time() - start)
    return {name: statistics.median(each[1:]) for name, each in taken.items()}


def step(product: Product, x: Tensor, weight: Tensor, slope: Tensor) -> Callable[[], object]:
    """Return what takes the three products of a layer."""
    turned = weight.t(), slope.t(), x.t()

    def products() -> object:
        return product(x, weight), product(slope, turned[0]), product(turned[1], turned[2])

    return products


def main() -> None:
    """Measure, print and write."""
    torch.set_num_threads(1)
    names = "| rows × inputs × outputs | " + " | ".join(WAYS) + " |"
    found = facts()
    head = HEAD.format(
        processor=found["processor"],
        instructions=", ".join(found["instructions"]),
        torch=torch.__version__,
        rounds=ROUNDS,
        load=os.getloadavg()[0],
    )
    page = [head, names, "| --- |" + " --- |" * len(WAYS)]
    generator = torch.Generator().manual_seed(0)
    better = set(WAYS) - {"torch"}
    for rows, incoming, outgoing in SIZES:
        x = torch.randn(rows, incoming, generator=generator)
        weight = torch.randn(outgoing, incoming, generator=generator) / incoming**0.5
        slope = torch.randn(rows, outgoing, generator=generator)
        exact = torchs(x.double(), weight.double())
        times = seconds({name: step(product, x, weight, slope) for name, product in WAYS.items()})
        errors = {name: (product(x, weight) - exact).abs().max().item() for name, product in WAYS.items()}
        better = {name for name in better if faster(times, name) and errors[name] <= errors["torch"]}
        work = 6e-9 * rows * incoming * outgoing
        cells = " | ".join(f"{work / times[name]:.0f}, {errors[name]:.1e}" for name in WAYS)
        page.append(f"| {rows} × {incoming} × {outgoing} | {cells} |")
    named = ", ".join(sorted(better)) or "none"
    page += ["", f"A tenth faster than torch's own at every size, with no larger error: {named}."]
    print("\n".join(page))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"products-{slug(found)}.md").write_text("\n".join(page) + "\n", "utf-8")


def faster(times: dict[str, float], name: str) -> bool:
    """Return whether a way takes a tenth less than torch's own."""
    return times[name] < 0.9 * times["torch"]


if __name__ == "__main__":
    main()
