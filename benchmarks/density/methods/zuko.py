"""zuko's NSF and MAF, built and trained as its tutorials do.

Sizes are the library's defaults: three transforms, two hidden layers of 64, eight bins. Standardised by the
training rows; Adam at 1e-3, batches of 64 (its tutorial "basics"); early stopping after 20 epochs without a
rise of the validation nats, which is more patience than any of its examples has, and the best weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
import torch._dynamo  # the first optimizer imports it, seconds that are not training
import zuko

from benchmarks.density.methods.method import Fitted, trained
from benchmarks.density.protocol import Array
from diffeo.friends.units import Units

RATE, PATIENCE = 1e-3, 20


def fit(kind: str, batch: int, train: Array, validation: Array, seconds: float, seed: int) -> Fitted:
    """Train the flow ``kind`` ("NSF" or "MAF")."""
    torch.manual_seed(seed)
    units = Units.of(train)
    rows, others = (torch.from_numpy(units.to_standard(x).astype(np.float32)) for x in (train, validation))
    flow = getattr(zuko.flows, kind)(train.shape[1])
    optimizer = torch.optim.Adam(flow.parameters(), lr=RATE)
    size, best = min(batch, len(rows)), dict[str, torch.Tensor]()

    def epoch() -> Iterator[None]:
        for index in torch.randperm(len(rows)).split(size):
            loss = -flow().log_prob(rows[index]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield

    @torch.no_grad()
    def densities(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([flow().log_prob(part).double() for part in x.split(4096)])

    def keep() -> None:
        best.update(copy.deepcopy(flow.state_dict()))

    told = trained(epoch, lambda: float(densities(others).mean()), keep, seconds, PATIENCE)
    flow.load_state_dict(best)

    def log_prob(x: Array) -> Array:
        return densities(torch.from_numpy(units.to_standard(x).astype(np.float32))).numpy() + units.log_det

    return Fitted(log_prob, told)
