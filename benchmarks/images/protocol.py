"""What is measured: bits per dimension of test images, through dequantisation and all preprocessing.

Pixels k ∈ {0, …, L − 1} become k + u with u uniform in [0, 1)ᴰ, drawn anew for every step. Then

    −log₂ P(k) ≤ E_u[−log₂ p(k + u)],

and what is reported is the right side over D, with u drawn DRAWS times a test image; and beside it the
closer bound −log₂ (1/K) Σ p(k + u) of the same K = DRAWS draws. Flows are fitted as a user fits them,
by :class:`diffeo.images.ImageModel`. Gaussian and mixture, which read rows once, get five draws of each
image in [0, 1].
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import diffeo
from benchmarks.images.recipes import ALPHA, built
from benchmarks.images.sets import ImageSet, Pixels
from diffeo.bijections import Logit
from diffeo.friends import Gaussian, GaussianMixture
from diffeo.images import Images, bits_per_dim, nats_in_unit

#: Draws of u for each test image.
DRAWS = 8

#: What the flows are held against.
CLASSICAL = ("Gaussian", "Gaussian of logits", "Gaussian mixture", "Gaussian mixture of logits")

#: log P of the test images in nats, with noise of a seed.
LogProb = Callable[[int], Any]

#: Held-out images that a fit watches at most, and the fewest steps between looks at them.
WATCHED, LOOK = 1_000, 50

#: Numbers, in float64, that a classical density is fitted to at most: of large sets fewer draws of noise.
LARGEST = 2**28


def dequantised(pixels: Pixels, levels: int, seed: int) -> np.ndarray[Any, Any]:
    """Return y = (k + u) / L, float32 and below 1."""
    u = np.random.default_rng(seed).random(pixels.shape)
    return np.minimum((pixels + u) / levels, 1 - 2**-24).astype(np.float32)


def _seen(rows: Any, logits: bool) -> tuple[Any, Any]:
    """Return rows as they are or through the flows' logit, and log │det│ of that."""
    if not logits:
        return rows, 0.0
    seen, log_det = Logit(alpha=ALPHA).inverse(torch.from_numpy(rows))
    return seen.numpy(), log_det.numpy()


def measured(data: ImageSet, method: str, seed: int, seconds: float) -> dict[str, Any]:
    """Return one fit's record: its bits per dimension on test images, its course, time and size."""
    begun = time.perf_counter()
    log_prob, found = (
        _classical(data, method, seed) if method in CLASSICAL else _flow(data, method, seed, seconds)
    )
    spent = time.perf_counter() - begun
    draws = np.stack([log_prob(1000 + draw) for draw in range(DRAWS)])  # (draws, images)
    dim = math.prod(data.shape)
    nats = float(draws.mean())
    weighted = float((np.logaddexp.reduce(draws, 0) - math.log(DRAWS)).mean())
    return {
        "bits": bits_per_dim(nats, dim),
        "weighted bits": bits_per_dim(weighted, dim),
        "nats": nats_in_unit(nats, dim, data.levels),
        "seconds": round(spent, 1),
        **found,
    }


def _classical(data: ImageSet, method: str, seed: int) -> tuple[LogProb, dict[str, Any]]:
    """Return log P of test images by a seed of noise, and what is told of the fit."""
    dim, logits = math.prod(data.shape), method.endswith("of logits")

    def rows(pixels: Pixels, seed: int) -> Any:
        return dequantised(pixels, data.levels, seed).reshape(-1, dim).astype(np.float64)

    model = GaussianMixture(seed=seed) if "mixture" in method else Gaussian()
    draws = max(1, min(5, LARGEST // data.train.size))
    model.fit(_seen(np.concatenate([rows(data.train, draw) for draw in range(draws)]), logits)[0])

    def log_prob(seed: int) -> Any:
        seen, log_det = _seen(rows(data.test, seed), logits)
        return model.log_prob(seen) + log_det - dim * math.log(data.levels)

    told = {"parameters": model.n_parameters, "steps": 0, "stopped_by": model.describe(), "course": []}
    return log_prob, told


def _flow(data: ImageSet, method: str, seed: int, seconds: float) -> tuple[LogProb, dict[str, Any]]:
    """Return log P of test images by a seed of noise, and what is told of the fit."""
    torch.manual_seed(seed)
    model = built(method, data.name, data.shape, data.levels)
    config = diffeo.TrainConfig(
        seed=seed,
        time_budget=seconds,
        batch_size=64,
        learning_rate=1e-3 if method != "TarFlow" else 2e-3,
        evaluate_every=max(LOOK, min(WATCHED, len(data.validation)) // 16),
        patience=None,
        averaging=0.99,
    )
    train, validation, test = (
        Images(pixels, data.levels) for pixels in (data.train, data.validation[:WATCHED], data.test)
    )
    result = model.fit(train, validation=validation, config=config, progress=False)

    def log_prob(seed: int) -> Any:
        return model.log_prob(test, seed=seed)

    dim = math.prod(data.shape)
    told = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": result.steps,
        "best_step": result.best_step,
        "stopped_by": result.stopped_by,
        "course": [[e.step, e.seconds, bits_per_dim(-e.held_out_nats, dim)] for e in result.history],
    }
    return log_prob, told
