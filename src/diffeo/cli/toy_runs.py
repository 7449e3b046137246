"""One flow on one toy: trained within seconds, scored beside the entropy, seen on a grid."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffeo import flows
from diffeo.bijections import Standardize
from diffeo.flows import Flow
from diffeo.toys import TOYS
from diffeo.training import TrainConfig, fit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: The flows that are trained, and where they differ from what they are by default: NICE is published with
#: 16 million weights, sized for images.
FLOWS: Mapping[str, dict[str, Any]] = {"NSF": {}, "RealNVP": {}, "NICE": {"hidden": (256,) * 3}}

#: Half the width of the square that toys are drawn in.
REACH = 4.2

_TRAIN, _HELD, _TEST, _GRID, _DRAWS = 500_000, 5_000, 100_000, 110, 3_000


def aim(toy: str) -> float:
    """Return the nats above the entropy that a good fit stays below; a checkerboard has edges all over."""
    return 0.05 if toy == "checkerboard" else 0.02


@dataclass(frozen=True)
class Run:
    """What a flow reached on a toy.

    Attributes:
        toy, flow: their names.
        kl: held-out KL(p_D ‖ p_θ) = −mean log p_θ − H, in nats.
        error: its standard error, from the choice of test rows.
        seconds: what training took.
        steps: steps of training.
        density: p_θ on the grid of the picture.
        samples: draws of the flow.
    """

    toy: str
    flow: str
    kl: float
    error: float
    seconds: float
    steps: int
    density: npt.NDArray[np.float64]
    samples: npt.NDArray[np.float64]


def run_toy(toy: str, name: str, seconds: float, seed: int, threads: int) -> Run:
    """Train the flow of this name on a toy for so long, and measure it on rows of its own."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    made: Any = getattr(flows, name)
    density = TOYS[toy]
    flow: Flow = made(2, **FLOWS[name]).then(Standardize(2))
    config = TrainConfig(
        time_budget=seconds,
        batch_size=512,
        learning_rate=3e-3,
        weight_decay=0.0,
        patience=None,
        evaluate_every=1000,
        seed=seed,
        device="cpu",
    )
    x, held = density.sample(_TRAIN, seed=3 * seed + 1), density.sample(_HELD, seed=3 * seed + 2)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fit(flow, x, validation=held, config=config, progress=False)
    took = time.perf_counter() - began
    log_prob = scored(flow, density.sample(_TEST, seed=3 * seed + 3))
    generator = torch.Generator().manual_seed(seed)
    return Run(
        toy,
        name,
        kl=-float(log_prob.mean()) - density.entropy,
        error=float(log_prob.std()) / _TEST**0.5,
        seconds=took,
        steps=result.steps,
        density=scored(flow, grid()).exp().reshape(_GRID, _GRID).numpy(),
        samples=flow.sample((_DRAWS,), generator=generator).double().numpy(),
    )


def exact(toy: str) -> npt.NDArray[np.float64]:
    """Return the toy's own density on the grid of the picture."""
    return TOYS[toy].log_prob(grid()).exp().reshape(_GRID, _GRID).numpy()


def grid() -> Tensor:
    """Return the points of the picture, (n², 2)."""
    line = torch.linspace(-REACH, REACH, _GRID)
    return torch.cartesian_prod(line, line)


@torch.no_grad()
def scored(flow: Flow, x: Tensor) -> Tensor:
    """Return log p of rows, in float64."""
    return torch.cat([flow.log_prob(part) for part in x.split(8192)]).double()
