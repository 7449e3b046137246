"""Neural spline flows by coupling, as published and with the authors' own library, nflows.

Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows* (2019), table 5 and section B.1: steps of an
LU-linear layer after a random permutation and a rational-quadratic coupling by a residual network, tails
linear beyond ±3, Adam with the rate annealed to 0 by a cosine, gradients clipped to norm 5. Theirs went on
for 250,000 to 400,000 steps; here the cosine ends with the time, for no table sees so many.

Settings are those of POWER for 50,000 training rows and more, those of MINIBOONE for less.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch._dynamo  # the first optimizer imports it, seconds that are not training
from nflows.distributions.normal import StandardNormal
from nflows.flows import Flow
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    CompositeTransform,
    LULinear,
    PiecewiseRationalQuadraticCouplingTransform,
    RandomPermutation,
    Transform,
)
from nflows.utils import create_alternating_binary_mask
from torch import nn

from benchmarks.density.methods.method import Fitted, trained
from benchmarks.density.protocol import Array
from diffeo.friends.units import Units

STEPS, BOUND, CLIP = 10, 3.0, 5.0

#: Training stops for nothing but the time, as published; the weights are those of the best look.
PATIENCE = 1 << 30


@dataclass(frozen=True)
class Settings:
    """What the paper states for each table."""

    batch: int
    rate: float
    hidden: int
    blocks: int
    bins: int
    dropout: float


LARGE = Settings(batch=512, rate=5e-4, hidden=256, blocks=2, bins=8, dropout=0.0)
SMALL = Settings(batch=64, rate=3e-4, hidden=64, blocks=1, bins=4, dropout=0.2)


def settings_for(rows: int) -> Settings:
    """Return the published settings for a table of so many training rows."""
    return LARGE if rows >= 50_000 else SMALL


def fit(train: Array, validation: Array, seconds: float, seed: int) -> Fitted:
    """Train the flow for so many seconds."""
    begun = time.perf_counter()
    torch.manual_seed(seed)
    units, chosen = Units.of(train), settings_for(len(train))
    rows, others = (torch.from_numpy(units.to_standard(x).astype(np.float32)) for x in (train, validation))
    flow = _flow(train.shape[1], chosen)
    optimizer = torch.optim.Adam(flow.parameters(), lr=chosen.rate)
    size, best = min(chosen.batch, len(rows)), dict[str, torch.Tensor]()

    def epoch() -> Iterator[None]:
        flow.train()
        for index in torch.randperm(len(rows)).split(size):
            gone = min(1.0, (time.perf_counter() - begun) / seconds)
            optimizer.param_groups[0]["lr"] = chosen.rate * 0.5 * (1 + math.cos(math.pi * gone))
            loss = -flow.log_prob(rows[index]).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), CLIP)
            optimizer.step()
            yield
            flow.train()  # a look may have come between

    @torch.no_grad()
    def densities(x: torch.Tensor) -> torch.Tensor:
        flow.eval()
        return torch.cat([flow.log_prob(part).double() for part in x.split(4096)])

    def keep() -> None:
        best.update(copy.deepcopy(flow.state_dict()))

    told = trained(epoch, lambda: float(densities(others).mean()), keep, seconds, PATIENCE)
    flow.load_state_dict(best)

    def log_prob(x: Array) -> Array:
        return densities(torch.from_numpy(units.to_standard(x).astype(np.float32))).numpy() + units.log_det

    return Fitted(log_prob, told)


def _flow(features: int, chosen: Settings) -> Any:
    layers: list[Transform] = []
    for k in range(STEPS):
        layers.append(_linear(features))
        if features > 1:
            layers.append(_coupling(features, k, chosen))
    return Flow(CompositeTransform([*layers, _linear(features)]), StandardNormal([features]))


def _linear(features: int) -> Transform:
    return CompositeTransform([RandomPermutation(features), LULinear(features, identity_init=True)])


def _coupling(features: int, k: int, chosen: Settings) -> Transform:
    def network(inputs: int, outputs: int) -> nn.Module:
        return ResidualNet(
            inputs,
            outputs,
            hidden_features=chosen.hidden,
            num_blocks=chosen.blocks,
            dropout_probability=chosen.dropout,
        )

    return PiecewiseRationalQuadraticCouplingTransform(
        create_alternating_binary_mask(features, even=k % 2 == 0),
        network,
        num_bins=chosen.bins,
        tails="linear",
        tail_bound=BOUND,
    )
