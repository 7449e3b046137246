"""FrEIA: blocks from data to noise, in a SequenceINN; each Glow block holds two couplings."""

from __future__ import annotations

import math

import FrEIA.framework
import FrEIA.modules
import torch
from torch import Tensor, nn

from benchmarks.cases import Case
from benchmarks.libraries.library import Lacks
from benchmarks.libraries.torch_library import Loop, TorchLibrary


class Adapter(TorchLibrary):
    """FrEIA."""

    loop = Loop(batch=100, rate=1e-3)  # its quickstart

    def make(self, case: Case) -> nn.Module:
        """Return half as many Glow blocks as there are couplings."""
        if case.structure != "coupling" or case.law != "affine":
            raise Lacks("its release has no splines and no autoregressive layers")
        if case.layers % 2:
            raise Lacks("its blocks hold two couplings each")

        def network(inputs: int, outputs: int) -> nn.Module:
            hidden = case.hidden
            return nn.Sequential(
                nn.Linear(inputs, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, outputs),
            )

        flow = FrEIA.framework.SequenceINN(case.features)
        for _ in range(case.layers // 2):
            flow.append(FrEIA.modules.GLOWCouplingBlock, subnet_constructor=network)
        return flow

    def density(self, x: Tensor) -> Tensor:
        """Return log p of each row."""
        z, log_det = self.flow(x)
        return log_det - 0.5 * z.square().sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)

    def draw(self, rows: int) -> Tensor:
        """Return rows of the flow."""
        return self.flow(torch.randn(rows, self.case.features, device=self.device), rev=True)[0]
