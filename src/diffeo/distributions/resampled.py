"""The resampled base: a normal of which a network refuses some draws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffeo.conditioners.conditioner import Linear, hidden_sizes, zero_linear
from diffeo.distributions.base import Base
from diffeo.distributions.normal import log_normal
from diffeo.errors import at_least, number
from diffeo.kernels.safe import bounded, conditioner_input
from diffeo.kernels.tiles import even_linear, in_tiles
from diffeo.registry import register

#: Where the grid of one or two features ends; a normal holds 10⁻¹⁰ beyond.
_REACH = 6.5

#: Independent scramblings of the Sobol points, from whose spread the standard error is read.
_SCRAMBLINGS = 8


class Normaliser(NamedTuple):
    """The probability Z that a proposal is accepted, and how well it is known.

    Attributes:
        value: Z.
        standard_error: of Z; for one or two features the difference to a grid of half as many points an
            axis, which the error of the whole grid is far below.
    """

    value: Tensor
    standard_error: Tensor


@register("distributions.Resampled")
class Resampled(Base):
    """π(z) = ((1 − α) a(z) / Z + α) N(z; 0, I), α = (1 − Z)^(T−1): learned rejection sampling.

    A draw of the normal is accepted with probability a(z) = σ(s m(z)), or else drawn again, at most T
    times; the last is taken as it is. Z = E[a(z)] under the normal. It starts at the standard normal.

    m is a perceptron with tanh units whose matrices are divided by their spectral norm where that exceeds
    1, so that no logit is steeper than s. This is what makes Z computable. It is no random estimate: it is
    a fixed sum, the same in training, densities and samples' densities, over

    - a grid (the trapezoid rule, spacing at most 1/s) for one or two features: the mass is then 1 to about
      1e-7;
    - ``nodes`` scrambled Sobol points for more, which ``seed`` fixes and a model file keeps. The mass is
      then 1 to about the relative error of Z, which :meth:`normaliser` reports: more nodes make it small.

    Each density costs a pass of the network over all nodes, once a call.

    Source: Stimper, Schölkopf & Hernández-Lobato, *Resampling base distributions of normalizing flows*
    (2022), section 3; Bauer & Mnih, *Resampled priors for variational autoencoders* (2019), section 3.

    Args:
        features: the number of features D.
        hidden: hidden widths of m.
        truncation: T, the most proposals for a draw.
        steepness: s, the largest slope of the logit of a.
        nodes: Sobol points, for more than two features.
        seed: of their scrambling.

    >>> base = Resampled(1, hidden=(8,))
    >>> base.log_prob(torch.zeros(1)).item(), base.normaliser().value.item()
    (-0.918..., 0.5...)
    """

    reparametrised = False

    #: |logit a| stays below, so that neither a nor 1 − Z rounds to 0.
    _BOUND = 10.0

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (64, 64),
        truncation: int = 100,
        *,
        steepness: float = 10.0,
        nodes: int = 8192,
        seed: int = 0,
    ) -> None:
        at_least("features", features, 1)
        number("features", features, most=torch.quasirandom.SobolEngine.MAXDIM)
        super().__init__(features)
        at_least("truncation", truncation, 1)
        number("steepness", steepness, above=0, most=32)
        at_least("nodes", nodes, 2 * _SCRAMBLINGS)
        at_least("seed", seed, 0)
        self.truncation, self.steepness = truncation, float(steepness)
        sizes = [features, *hidden_sizes(hidden)]
        self.layers = nn.ModuleList([Linear(n, m) for n, m in itertools.pairwise(sizes)])
        self.last = zero_linear(sizes[-1], 1)
        # Grid or not, the nodes are kept: another version of torch may scramble otherwise.
        places, weights = (
            _grid(features, self.steepness) if features <= 2 else _sobol(features, nodes, seed)
        )
        self.register_buffer("nodes", places)
        self.register_buffer("weights", weights)

    def log_acceptance(self, z: Tensor) -> Tensor:
        """Return log a(z), of the batch shape."""
        return in_tiles(self._log_acceptance, conditioner_input(z)).squeeze(-1)

    def _log_acceptance(self, rows: Tensor, context: None = None) -> Tensor:
        for layer in self.layers:
            assert isinstance(layer, Linear)
            rows = even_linear(rows, _contraction(layer.weight), layer.bias).tanh()
        logit = self.steepness * even_linear(rows, _contraction(self.last.weight), self.last.bias)
        return -torch.log1p(torch.exp(-bounded(logit, self._BOUND)))

    def normaliser(self) -> Normaliser:
        """Return Z and its standard error."""
        dim = self.event_shape[0]
        accepted = self.log_acceptance(self.get_buffer("nodes")).exp()
        weights = self.get_buffer("weights")
        value = (weights * accepted).sum()
        if dim > 2:
            means = accepted.reshape(_SCRAMBLINGS, -1).mean(-1)
            return Normaliser(value, means.std() / math.sqrt(_SCRAMBLINGS))
        # Every second node of every axis.
        side = round(len(weights) ** (1 / dim))
        part = (slice(None, None, 2),) * dim
        coarse, some = (each.reshape((side,) * dim)[part] for each in (accepted, weights))
        return Normaliser(value, (value - (coarse * some).sum() / some.sum()).abs())

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log N(z; 0, I) + log((1 − α) a(z) / Z + α)."""
        proposed = log_normal(z).sum(-1)
        if self.truncation == 1:  # every draw is taken
            return proposed
        accepted = self.normaliser().value
        log_alpha = (self.truncation - 1) * torch.log1p(-accepted)
        log_rest = torch.log(-torch.expm1(log_alpha))
        weighed = log_rest + self.log_acceptance(z) - accepted.log()
        return proposed + torch.logaddexp(weighed, log_alpha)

    @torch.no_grad()
    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the first accepted of T normal draws, or the last; no gradient goes through a refusal."""

        def uniform() -> Tensor:
            return torch.rand(tuple(shape), generator=generator, dtype=self.dtype, device=self.device)

        def proposal() -> Tensor:
            sizes = (*shape, *self.event_shape)
            return torch.randn(sizes, generator=generator, dtype=self.dtype, device=self.device)

        z = proposal()
        done = uniform() < self.log_acceptance(z).exp()
        for _ in range(self.truncation - 1):
            if not torch.compiler.is_compiling() and bool(done.all()):
                break
            fresh = proposal()
            z = torch.where(done.unsqueeze(-1), z, fresh)
            done = done | (uniform() < self.log_acceptance(fresh).exp())
        return z


def _contraction(weight: Tensor) -> Tensor:
    """Return the matrix, divided by its spectral norm where that exceeds 1."""
    return weight / torch.linalg.matrix_norm(weight, ord=2).clamp(min=1.0)


def _grid(features: int, steepness: float) -> tuple[Tensor, Tensor]:
    """Return nodes (n, D) and normal weights (n,) of a grid with an odd number of points an axis."""
    half = 2 * math.ceil(_REACH * max(steepness, 2.0) / 2)
    axis = torch.linspace(-_REACH, _REACH, 2 * half + 1, dtype=torch.float64)
    nodes = torch.cartesian_prod(*[axis] * features).reshape(-1, features)
    density = torch.exp(-0.5 * nodes.square().sum(-1))
    dtype = torch.get_default_dtype()
    return nodes.to(dtype), (density / density.sum()).to(dtype)


def _sobol(features: int, nodes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return normal nodes (n, D) of several scramblings, one after the other, and equal weights (n,)."""
    each = nodes // _SCRAMBLINGS
    places = torch.empty(_SCRAMBLINGS, each, features)
    weights = torch.full((_SCRAMBLINGS * each,), 1 / (_SCRAMBLINGS * each))
    if places.device.type != "meta":  # what a file declares is first built without memory
        for k in range(_SCRAMBLINGS):
            engine = torch.quasirandom.SobolEngine(features, scramble=True, seed=seed * _SCRAMBLINGS + k)
            u = engine.draw(each, dtype=torch.float64).clamp(2**-32, 1 - 2**-32)
            places[k] = torch.special.ndtri(u)
    return places.reshape(-1, features), weights
