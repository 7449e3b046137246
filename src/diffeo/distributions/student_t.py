"""Student's t: tails as heavy as the data ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.distributions.base import Base
from diffeo.errors import ConfigError, number
from diffeo.kernels.safe import split_safe, sum_event
from diffeo.registry import register


@register("distributions.StudentT")
class StudentT(Base):
    """π(z) = ∏ᵢ t(zᵢ; νᵢ), Student's t with location 0, scale 1 and learnable degrees of freedom ν.

    t(z; ν) = Γ((ν+1)/2) / (√(νπ) Γ(ν/2)) · (1 + z²/ν)^(−(ν+1)/2). log ν moves between the logarithms of
    ``least`` and ``most`` along a sigmoid. Beyond the safe limit log π(z) is computed from log |z|, so
    that it is finite for every finite z.

    Source: tails of flows are those of their base: Jaini, Kobyzev, Yu & Brubaker, *Tails of Lipschitz
    triangular flows* (2020); samples: Bailey, *Polar generation of random variates with the
    t-distribution* (1994).

    Args:
        features: the number of features, or an event shape.
        df: the degrees of freedom to start from; they are learnt for each feature.
        least: the smallest ν, at least 0.5.
        most: the largest ν; at 100 a t is nearly normal.

    >>> base = StudentT(2, df=3.0)
    >>> base.df.tolist(), base.log_prob(torch.tensor([0.0, 1e30])).isfinite().item()
    ([3.0, 3.0], True)
    """

    def __init__(
        self, features: int | Sequence[int], df: float = 5.0, least: float = 1.0, most: float = 100.0
    ) -> None:
        super().__init__(features)
        number("least", least, least=0.5)
        number("df", df, above=0)
        number("most", most, above=0)
        if not least < df < most:
            raise ConfigError(f"df={df!r} must be above least={least!r} and below most={most!r}.")
        start = math.log(df / least) / math.log(most / least)
        self._start = math.log(start / (1 - start))
        self._low, self._range = math.log(least), math.log(most / least)
        self.raw_df = nn.Parameter(torch.zeros(self.event_shape))

    @property
    def df(self) -> Tensor:
        """Return ν, of the event shape."""
        return torch.exp(self._low + self._range * torch.sigmoid(self.raw_df + self._start))

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return Σᵢ log t(zᵢ; νᵢ)."""
        df = self.df
        ok, inner = split_safe(z)
        finite = z.detach().isfinite()
        near = torch.log1p(inner.square() / df)
        far = 2 * torch.where(finite & ~ok, z, 1.0).abs().log() - df.log()
        decay = -0.5 * (df + 1) * torch.where(ok, near, far)
        # The constants in double precision: the gammas of large ν nearly cancel.
        wide = df.double()
        constant = torch.lgamma((wide + 1) / 2) - torch.lgamma(wide / 2) - 0.5 * torch.log(math.pi * wide)
        inside = decay + constant.to(z.dtype)
        return sum_event(torch.where(finite, inside, -z.detach().abs()), self.event_ndim)

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return √(ν (u^(−2/ν) − 1)) cos 2πv, u and v uniform: exact, and differentiable in ν."""
        sizes, df = (*shape, *self.event_shape), self.df
        u, v = (
            torch.rand(sizes, generator=generator, dtype=self.dtype, device=self.device) for _ in range(2)
        )
        # −log(1 − u) is as good a draw, and never infinite; kept off 0, where √ has no derivative.
        surprise = -torch.log1p(-u).clamp(max=-(torch.finfo(self.dtype).eps ** 2))
        return torch.sqrt(df * torch.expm1(2 * surprise / df)) * torch.cos(2 * math.pi * v)
