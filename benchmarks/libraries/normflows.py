"""normflows: flows from noise to data, in a NormalizingFlow."""

from __future__ import annotations

import normflows as nf
from normflows.flows.neural_spline.autoregressive import MaskedPiecewiseRationalQuadraticAutoregressive
from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling
from normflows.utils.masks import create_alternating_binary_mask
from torch import Tensor, nn

from benchmarks.cases import Case
from benchmarks.libraries.torch_library import Loop, TorchLibrary


class Network(nf.nets.MLP):
    """Its MLP, with the signature that its spline couplings call."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__([inputs, hidden, hidden, outputs])
        self.hidden_features = hidden  # its splines scale their logits by this

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the network of x."""
        return super().forward(x)


class Adapter(TorchLibrary):
    """normflows."""

    loop = Loop(batch=512, rate=5e-4, decay=1e-5)  # its README and examples

    def make(self, case: Case) -> nn.Module:
        """Return the flow; what is one-pass from noise to data there is turned by its own Reverse."""
        layers: list[nn.Module] = []
        for k in range(case.layers):
            layers += _layers(case, k)
        if case.structure == "autoregressive" and case.law == "affine":
            self.differs = "its MAF is one-pass when sampling: turned by its Reverse"
        elif case.law == "spline":
            self.differs = "spline layers without its wrappers, which have one hidden layer more"
        return nf.NormalizingFlow(nf.distributions.DiagGaussian(case.features, trainable=False), layers)

    def density(self, x: Tensor) -> Tensor:
        """Return log p of each row."""
        return self.flow.log_prob(x)

    def draw(self, rows: int) -> Tensor:
        """Return rows of the flow."""
        return self.flow.sample(rows)[0]


def _layers(case: Case, k: int) -> list[nn.Module]:
    d, hidden = case.features, case.hidden
    if case.structure == "coupling" and case.law == "affine":
        first, second = case.passed
        network = nf.nets.MLP([first, hidden, hidden, 2 * second])
        return [nf.flows.AffineCouplingBlock(network), nf.flows.Permute(d, mode="swap")]
    if case.structure == "coupling":
        coupling = PiecewiseRationalQuadraticCoupling(
            create_alternating_binary_mask(d, even=k % 2 == 1),
            lambda inputs, outputs: Network(inputs, outputs, hidden),
            num_bins=case.bins,
            tails="linear",
            tail_bound=3.0,
        )
        return [nf.flows.Reverse(coupling)]
    reversal = nf.flows.Permute(d, mode="shuffle")
    # One block after the initial layer: two hidden layers.
    if case.law == "affine":
        masked = nf.flows.MaskedAffineAutoregressive(d, hidden, num_blocks=1, use_residual_blocks=False)
    else:
        masked = MaskedPiecewiseRationalQuadraticAutoregressive(
            d,
            hidden,
            num_blocks=1,
            use_residual_blocks=False,
            num_bins=case.bins,
            tails="linear",
            tail_bound=3.0,
        )
    return [nf.flows.Reverse(masked), reversal]
