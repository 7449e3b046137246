"""What is measured: bits per dimension of test images, through dequantisation and all preprocessing.

Pixels k ∈ {0, …, L − 1} become y = (k + u) / L with u uniform in [0, 1)ᴰ, drawn anew for every step. Then

    −log₂ P(k) ≤ E_u[−log₂ p(y)] + D log₂ L,

and what is reported is the right side over D, with u drawn DRAWS times a test image. All methods are given
the same images and measured alike; Gaussian and mixture, which read rows once, get five draws of each.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

import diffeo
from benchmarks.images.recipes import ALPHA, built
from benchmarks.images.sets import ImageSet, Pixels
from diffeo.bijections import Logit
from diffeo.flows import Flow
from diffeo.friends import Gaussian, GaussianMixture
from diffeo.images import bits_per_dim
from diffeo.objectives.objective import Batch, Objective

#: Draws of u for each test image.
DRAWS = 8

#: What the flows are held against.
CLASSICAL = ("Gaussian", "Gaussian of logits", "Gaussian mixture", "Gaussian mixture of logits")

#: Steps between looks at held-out rows.
LOOK = 50


@dataclass(frozen=True)
class Dequantised(Objective):
    """−(1/N) Σ log p(y), y = (k + u) / L with u drawn anew; rows come as any y of their k."""

    levels: int

    unit: ClassVar[str] = "nats per row"
    first_order: ClassVar[bool] = True

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return −mean log p(y)."""
        whole = (batch.x * self.levels).floor().clamp(0, self.levels - 1)
        return -flow((whole + torch.rand_like(whole)) / self.levels).mean()


def dequantised(pixels: Pixels, levels: int, seed: int) -> np.ndarray[Any, Any]:
    """Return y = (k + u) / L, float32 and below 1."""
    u = np.random.default_rng(seed).random(pixels.shape)
    return np.minimum((pixels + u) / levels, 1 - 2**-24).astype(np.float32)


def bits(nats: float, dim: int, levels: int) -> float:
    """Return bits per dimension of k from the mean of log p(y)."""
    return bits_per_dim(nats - dim * math.log(levels), dim)


def _seen(rows: Any, logits: bool) -> tuple[Any, Any]:
    """Return rows as they are or through the flows' logit, and log │det│ of that."""
    if not logits:
        return rows, 0.0
    seen, log_det = Logit(alpha=ALPHA).inverse(torch.from_numpy(rows))
    return seen.numpy(), log_det.numpy()


def measured(data: ImageSet, method: str, seed: int, seconds: float) -> dict[str, Any]:
    """Return one fit's record: its bits per dimension on test images, its course, time and size."""
    begun = time.perf_counter()
    dim = math.prod(data.shape)
    test = [dequantised(data.test, data.levels, 1000 + draw) for draw in range(DRAWS)]
    if method in CLASSICAL:
        rows = np.concatenate(
            [dequantised(data.train, data.levels, draw) for draw in range(5)], dtype=np.float64
        ).reshape(-1, dim)
        logits = method.endswith("of logits")
        model = GaussianMixture(seed=seed) if "mixture" in method else Gaussian()
        model.fit(_seen(rows, logits)[0])
        spent = time.perf_counter() - begun
        nats: list[float] = []
        for y in test:
            seen, log_det = _seen(y.reshape(-1, dim).astype(np.float64), logits)
            nats.append(float((model.log_prob(seen) + log_det).mean()))
        course: list[list[float]] = []
        extra = {"parameters": model.n_parameters, "steps": 0, "stopped_by": model.describe()}
    else:
        torch.manual_seed(seed)
        flow = built(method, data.name, data.shape)
        config = diffeo.TrainConfig(
            seed=seed,
            time_budget=seconds,
            batch_size=64,
            learning_rate=1e-3 if method != "TarFlow" else 2e-3,
            evaluate_every=LOOK,
            patience=None,
            averaging=0.99,
        )
        result = diffeo.fit(
            flow,
            dequantised(data.train, data.levels, 0),
            validation=dequantised(data.validation, data.levels, 1),
            config=config,
            objective=Dequantised(data.levels),
            progress=False,
        )
        spent = time.perf_counter() - begun
        with torch.no_grad():
            nats = [float(flow.log_prob(torch.from_numpy(y)).double().mean()) for y in test]
        course = [[e.step, e.seconds, bits(-e.held_out_nats, dim, data.levels)] for e in result.history]
        extra = {
            "parameters": sum(p.numel() for p in flow.parameters()),
            "steps": result.steps,
            "best_step": result.best_step,
            "stopped_by": result.stopped_by,
        }
    return {
        "bits": bits(float(np.mean(nats)), dim, data.levels),
        "nats": float(np.mean(nats)),
        "seconds": round(spent, 1),
        "course": course,
        **extra,
    }
