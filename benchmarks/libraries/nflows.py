"""nflows: transforms from data to noise, in a CompositeTransform."""

from __future__ import annotations

from typing import Any

from nflows.distributions.normal import StandardNormal
from nflows.flows import Flow
from nflows.nn.nets import MLP
from nflows.transforms import (
    AffineCouplingTransform,
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
    PiecewiseRationalQuadraticCouplingTransform,
    ReversePermutation,
    Transform,
)
from nflows.utils import create_alternating_binary_mask
from torch import Tensor, nn

from benchmarks.cases import Case
from benchmarks.libraries.torch_library import Loop, TorchLibrary


class Network(MLP):
    """Its MLP, with the signature that its couplings call."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__([inputs], [outputs], [hidden, hidden])
        self.hidden_features = hidden  # its splines scale their logits by this

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the network of the inputs."""
        return super().forward(inputs)


class Adapter(TorchLibrary):
    """nflows."""

    loop = Loop(batch=128, rate=1e-3)  # its example "moons"

    def make(self, case: Case) -> nn.Module:
        """Return couplings of alternating masks, or masked layers with reversals between."""
        layers: list[Transform] = []
        for k in range(case.layers):
            if case.structure == "coupling":
                layers.append(_coupling(case, k))
            else:
                layers += [_autoregressive(case), ReversePermutation(case.features)]
        return Flow(CompositeTransform(layers), StandardNormal([case.features]))

    def density(self, x: Tensor) -> Tensor:
        """Return log p of each row."""
        return self.flow.log_prob(x)

    def draw(self, rows: int) -> Tensor:
        """Return rows of the flow."""
        return self.flow.sample(rows)


def _coupling(case: Case, k: int) -> Transform:
    mask = create_alternating_binary_mask(case.features, even=k % 2 == 1)

    def network(inputs: int, outputs: int) -> nn.Module:
        return Network(inputs, outputs, case.hidden)

    if case.law == "affine":
        return AffineCouplingTransform(mask, network)
    return PiecewiseRationalQuadraticCouplingTransform(
        mask, network, num_bins=case.bins, tails="linear", tail_bound=3.0
    )


def _autoregressive(case: Case) -> Transform:
    # One block after the initial layer: two hidden layers.
    sizes: dict[str, Any] = {
        "features": case.features,
        "hidden_features": case.hidden,
        "num_blocks": 1,
        "use_residual_blocks": False,
    }
    if case.law == "affine":
        return MaskedAffineAutoregressiveTransform(**sizes)
    return MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        num_bins=case.bins, tails="linear", tail_bound=3.0, **sizes
    )
