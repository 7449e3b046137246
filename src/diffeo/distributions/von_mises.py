"""The von Mises base: a normal on the circle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.distributions.base import Base
from diffeo.errors import number
from diffeo.kernels.safe import bounded, sum_event
from diffeo.registry import register

#: Proposals for each draw. One in three is refused at worst, so that none of them is left with
#: probability 3⁻⁴⁰ ≈ 10⁻¹⁹: far below what a double can tell.
_PROPOSALS = 40

#: Nodes of the Gauss rule for the derivative towards the concentration.
_NODES = 64


@register("distributions.VonMises")
class VonMises(Base):
    """π(z) = ∏ᵢ exp(κᵢ cos(zᵢ − μᵢ)) / (2π I₀(κᵢ)) on [−π, π], and 0 outside; μ and κ learnable.

    I₀ is the modified Bessel function; log π(z) = κ (cos(z − μ) − 1) − log 2π − log(e^(−κ) I₀(κ)), which
    neither overflows nor cancels at any κ. log κ stays smoothly within log 1000 of its start.

    The uniform density on the circle is ``Uniform(features, low=-math.pi, high=math.pi)``.

    Source: Mardia & Jupp, *Directional Statistics* (2000), section 3.5.4; samples: Best & Fisher,
    *Efficient simulation of the von Mises distribution* (1979).

    Args:
        features: the number of features, or an event shape.
        concentration: the κ to start from.

    >>> base = VonMises(1, concentration=1.0)
    >>> base.log_prob(torch.tensor([[0.0], [4.0]]))
    tensor([-1.0738,    -inf], grad_fn=...)
    """

    _REACH = 1000.0

    def __init__(self, features: int | Sequence[int], concentration: float = 1.0) -> None:
        super().__init__(features)
        number("concentration", concentration, least=1e-3, most=1e3)
        self._start = math.log(concentration)
        self.loc = nn.Parameter(torch.zeros(self.event_shape))
        self.raw_log_concentration = nn.Parameter(torch.zeros(self.event_shape))

    @property
    def concentration(self) -> Tensor:
        """Return κ, of the event shape."""
        return torch.exp(self._start + bounded(self.raw_log_concentration, math.log(self._REACH)))

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return Σᵢ log π(zᵢ)."""
        kappa, fixed = self.concentration, z.detach()
        inside = fixed.abs() <= math.pi
        angle = torch.where(inside, z, 0.0) - self.loc
        # cos − 1 as −2 sin²: near the mode the difference would lose its digits.
        exponent = -2 * kappa * torch.sin(angle / 2).square()
        constant = math.log(2 * math.pi) + torch.special.i0e(kappa).log()
        outside = torch.where(fixed.isnan(), fixed, -torch.inf)
        return sum_event(torch.where(inside, exponent - constant, outside), self.event_ndim)

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return draws, differentiable in μ and (by the implicit function theorem) in κ."""
        sizes, kappa = (*shape, *self.event_shape), self.concentration
        with torch.no_grad():
            angle = _best_fisher(kappa, sizes, generator)
        if torch.is_grad_enabled() and kappa.requires_grad:
            angle = angle + (kappa - kappa.detach()) * _slope(angle, kappa.detach())
        turned = torch.remainder(angle + self.loc + math.pi, 2 * math.pi) - math.pi
        return turned.clamp(-math.pi, math.pi)


def _best_fisher(kappa: Tensor, sizes: Sequence[int], generator: torch.Generator | None) -> Tensor:
    """Return draws around 0: the first accepted of a fixed number of wrapped Cauchy proposals."""
    u, v, side = (
        torch.rand((_PROPOSALS, *sizes), generator=generator, dtype=kappa.dtype, device=kappa.device)
        for _ in range(3)
    )
    # r = (1 + ρ²) / 2ρ of the paper, rearranged so that r − 1 keeps its digits for large κ.
    root = torch.sqrt(1 + 4 * kappa.square())
    tau = 1 + root
    rho = (tau - torch.sqrt(2 * tau)) / (2 * kappa)
    r = (1 + rho.square()) / (2 * rho)
    c = torch.cos(math.pi * u)
    f = (1 + r * c) / (r + c)
    weight = kappa * (r - f)
    accepted = (weight * (2 - weight) > v) | ((weight / v).log() + 1 - weight >= 0)
    first = accepted.to(torch.uint8).argmax(0, keepdim=True)
    chosen = f.gather(0, first).squeeze(0).clamp(-1, 1)
    return torch.acos(chosen) * torch.where(side[0] < 0.5, -1.0, 1.0)


def _slope(angle: Tensor, kappa: Tensor) -> Tensor:
    """Return ∂z/∂κ = −(∂F/∂κ) / π(z) at a draw z around 0, F the distribution function.

    For z > 0 it is ∫_z^π (cos s − A) exp(κ (cos s − cos z)) ds with A = I₁/I₀ = E[cos]: no exponent is
    above 0. It is odd in z.
    """
    nodes, weights = _gauss_legendre(kappa)
    start = angle.abs().unsqueeze(-1)
    half = (math.pi - start) / 2
    s = start + half * (nodes + 1)
    mean = (torch.special.i1e(kappa) / torch.special.i0e(kappa)).unsqueeze(-1)
    fall = -2 * kappa.unsqueeze(-1) * torch.sin((s - start) / 2) * torch.sin((s + start) / 2)
    return angle.sign() * (weights * half * (s.cos() - mean) * fall.exp()).sum(-1)


def _gauss_legendre(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nodes and weights on [−1, 1], by Golub & Welsch's eigenvalue problem (1969)."""
    k = torch.arange(1, _NODES, dtype=torch.float64)
    beside = k / torch.sqrt(4 * k.square() - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return nodes.to(like), (2 * vectors[0].square()).to(like)
