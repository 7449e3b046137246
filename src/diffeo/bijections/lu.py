"""A full matrix in its LU factors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffeo.bijections.linear import Linear, undone
from diffeo.errors import at_least, number, one_of
from diffeo.kernels.linear import solved_rows
from diffeo.kernels.safe import bounded
from diffeo.kernels.tiles import even_linear
from diffeo.registry import register


@register("bijections.LU")
class LU(Linear):
    """x = P L diag(exp s) R z, a full matrix W in its triangular factors; log │det W│ = Σ s.

    L is lower and R upper triangular, both with a diagonal of ones, and P a fixed permutation, at which the
    map starts. Either direction costs D² a row. Glow writes U for diag(exp s) R and leaves all numbers
    free; here s and the entries are bounded, so that the map stays invertible whatever the optimiser does.

    Source: Kingma & Dhariwal, *Glow* (2018), equation 10; Oliva et al., *Transformation autoregressive
    networks* (2018).

    Args:
        features: D.
        permute: P: "none", "reverse" or "random".
        seed: of the random permutation.
        bound: the largest │s│, s = bound · tanh(raw / bound).
        shear: the largest entry of L and R beside their diagonals, bounded in the same way.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> LU(3, permute="reverse").matrix()
    tensor([[0., 0., 1.], [0., 1., 0.], [1., 0., 0.]], grad_fn=...)
    """

    def __init__(
        self,
        features: int,
        permute: str = "none",
        seed: int = 0,
        bound: float = 5.0,
        shear: float = 2.0,
    ) -> None:
        super().__init__(features)
        one_of("permute", permute, ("none", "reverse", "random"))
        at_least("seed", seed, 0)
        number("bound", bound, above=0, most=20)
        number("shear", shear, above=0)
        self.permute, self.bound, self.shear = permute, bound, shear
        # Both factors in one matrix, as LAPACK keeps them: L below the diagonal, R above.
        self.factors = nn.Parameter(torch.zeros(features, features))
        self.raw_log_diagonal = nn.Parameter(torch.zeros(features))
        order = torch.arange(features)
        if permute == "reverse":
            order = order.flip(0)
        elif permute == "random":
            order = torch.randperm(features, generator=torch.Generator().manual_seed(seed))
        # The arguments say it all: a file that held them too could contradict them.
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", torch.argsort(order), persistent=False)

    @property
    def log_diagonal(self) -> Tensor:
        """Return s, shape (D,)."""
        return bounded(self.raw_log_diagonal, self.bound)

    def lower(self) -> Tensor:
        """Return L, shape (D, D)."""
        one = torch.ones_like(self.raw_log_diagonal)
        return bounded(self.factors, self.shear).tril(-1) + torch.diag(one)

    def upper(self) -> Tensor:
        """Return U = diag(exp s) R, shape (D, D)."""
        beside = bounded(self.factors, self.shear).triu(1)
        scale = self.log_diagonal.exp()
        return scale.unsqueeze(-1) * beside + torch.diag(scale)

    def matrix(self) -> Tensor:
        """Return W = P L U, shape (D, D)."""
        return (self.lower() @ self.upper()).index_select(0, self.get_buffer("order"))

    def log_det(self) -> Tensor:
        """Return Σ s."""
        return self.log_diagonal.sum()

    def mapped(self, rows: Tensor) -> Tensor:
        """Return P (L (U z))."""
        moved = even_linear(even_linear(rows, self.upper()), self.lower())
        return moved if self.permute == "none" else moved.index_select(-1, self.get_buffer("order"))

    def unmapped(self, rows: Tensor) -> Tensor:
        """Return U⁻¹ (L⁻¹ (Pᵀ x)), by substitution."""
        back = rows if self.permute == "none" else rows.index_select(-1, self.get_buffer("back"))
        half = solved_rows(self.lower(), back, upper=False, unit=True)
        return solved_rows(self.upper(), half, upper=True)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sums of absolute terms of both products, and what substitution makes of them."""
        lower, upper = self.lower(), self.upper()
        if not inverse:
            terms = given.abs() @ upper.abs().T @ lower.abs().T
            return terms.index_select(-1, self.get_buffer("order"))
        eye = torch.eye(self.features, dtype=upper.dtype, device=upper.device)
        last = torch.linalg.solve_triangular(upper, eye, upper=True).abs()
        first = undone(lower, value @ upper.T, upper=False)
        return first @ last.T + undone(upper, value, upper=True)
