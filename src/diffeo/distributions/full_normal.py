"""The normal base with a learnable covariance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.distributions.base import Base
from diffeo.distributions.normal import log_normal
from diffeo.errors import at_least
from diffeo.kernels.safe import bounded, safe_limit
from diffeo.kernels.tiles import even_linear, in_tiles
from diffeo.registry import register


@register("distributions.FullNormal")
class FullNormal(Base):
    """π(z) = N(z; μ, (AᵀA)⁻¹), μ and the lower triangular A learnable, starting at the standard normal.

    log π(z) = Σᵢ log N(εᵢ; 0, 1) + Σᵢ log Aᵢᵢ with ε = A(z − μ). A is the Cholesky factor of the precision,
    not of the covariance: the likelihood is then concave in (A, Aμ), and costs a product where the
    other would solve a system; sampling solves it. |log Aᵢᵢ| is smoothly bounded by 10.

    Args:
        features: the number of features D.

    >>> base = FullNormal(2)
    >>> base.log_prob(torch.zeros(2)).item(), base.covariance().tolist()
    (-1.837..., [[1.0, 0.0], [0.0, 1.0]])
    """

    _BOUND = 10.0

    def __init__(self, features: int) -> None:
        at_least("features", features, 1)
        super().__init__(features)
        self.loc = nn.Parameter(torch.zeros(features))
        self.raw_log_diagonal = nn.Parameter(torch.zeros(features))
        # Only what is below the diagonal is read.
        self.below = nn.Parameter(torch.zeros(features, features))

    @property
    def log_diagonal(self) -> Tensor:
        """Return log Aᵢᵢ, shape (D,)."""
        return bounded(self.raw_log_diagonal, self._BOUND)

    def factor(self) -> Tensor:
        """Return A, shape (D, D)."""
        return self.below.tril(-1) + torch.diag(self.log_diagonal.exp())

    def covariance(self) -> Tensor:
        """Return (AᵀA)⁻¹, shape (D, D)."""
        eye = torch.eye(len(self.loc), dtype=self.dtype, device=self.device)
        inverse = torch.linalg.solve_triangular(self.factor(), eye, upper=False)
        return inverse @ inverse.mT

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log N(z; μ, (AᵀA)⁻¹)."""
        size = z.detach().abs().amax(-1, keepdim=True)
        ok = size <= safe_limit(z.dtype)  # False for NaN
        noise = in_tiles(self._noise, torch.where(ok, z, 0.0))
        # A row far out is computed on the unit scale, where no product overflows: its square may.
        unit = torch.nan_to_num(size, nan=1.0).clamp(min=1.0, max=torch.finfo(z.dtype).max)
        far = in_tiles(self._product, torch.nan_to_num(z.detach() / unit)) * unit
        inside = log_normal(torch.where(ok, noise, 0.0)).sum(-1) + self.log_diagonal.sum()
        outside = torch.where(size.isfinite(), log_normal(far).sum(-1, keepdim=True), -size)
        return torch.where(ok.squeeze(-1), inside, outside.squeeze(-1))

    def _noise(self, rows: Tensor, context: None = None) -> Tensor:
        return even_linear(rows - self.loc, self.factor())

    def _product(self, rows: Tensor, context: None = None) -> Tensor:
        return even_linear(rows, self.factor().detach())

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return μ + A⁻¹ ε with ε standard normal."""
        noise = torch.randn(
            (*shape, *self.event_shape), generator=generator, dtype=self.dtype, device=self.device
        )
        rows = noise.reshape(-1, len(self.loc))
        solved = torch.linalg.solve_triangular(self.factor(), rows.T, upper=False).T
        return solved.reshape(noise.shape) + self.loc
