"""zuko: lazy flows of transforms; ``flow().log_prob(x)``, as in its README."""

from __future__ import annotations

from functools import partial
from typing import Any

import zuko
from torch import Tensor, nn
from zuko.transforms import MonotonicRQSTransform

from benchmarks.cases import Case
from benchmarks.libraries.torch_library import Loop, TorchLibrary


class Adapter(TorchLibrary):
    """zuko."""

    loop = Loop(batch=64, rate=1e-3)  # its tutorial "basics"

    def make(self, case: Case) -> nn.Module:
        """Return NICE (affine unless told otherwise) or MAF, with splines where asked for."""
        spline: dict[str, Any] = {
            "univariate": partial(MonotonicRQSTransform, bound=3.0),
            "shapes": [(case.bins,), (case.bins,), (case.bins - 1,)],
        }
        kind = zuko.flows.NICE if case.structure == "coupling" else zuko.flows.MAF
        return kind(
            case.features,
            transforms=case.layers,
            hidden_features=(case.hidden, case.hidden),
            **(spline if case.law == "spline" else {}),
        )

    def density(self, x: Tensor) -> Tensor:
        """Return log p of each row."""
        return self.flow().log_prob(x)

    def draw(self, rows: int) -> Tensor:
        """Return rows of the flow."""
        return self.flow().sample((rows,))
