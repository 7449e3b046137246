"""What a linear map x = W z is: factors, safe products of rows, and a determinant that costs nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.errors import at_least
from diffeo.kernels.linear import linear_rows
from diffeo.kernels.shapes import check_event


class Linear(Bijection):
    """x = W z with W in factors whose determinant and inverse are cheap; subclasses say which.

    log │det ∂x/∂z│ = log │det W│, the same for every row. There is no shift: ``Affine`` and ``ActNorm``
    have one.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        at_least("features", features, 1)
        self.features = features
        self.event_shape = torch.Size([features])

    def matrix(self) -> Tensor:
        """Return W, shape (D, D)."""
        raise NotImplementedError  # abstract

    def log_det(self) -> Tensor:
        """Return log │det W│, a scalar."""
        raise NotImplementedError  # abstract

    def mapped(self, rows: Tensor) -> Tensor:
        """Return W z for rows z, (n, D)."""
        raise NotImplementedError  # abstract

    def unmapped(self, rows: Tensor) -> Tensor:
        """Return W⁻¹ x for rows x, (n, D)."""
        raise NotImplementedError  # abstract

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return W z and log │det W│."""
        check_event("z", z, self.event_shape)
        return linear_rows(self.mapped, z), self.log_det().expand(z.shape[:-1])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return W⁻¹ x and −log │det W│."""
        check_event("x", x, self.event_shape)
        return linear_rows(self.unmapped, x), (-self.log_det()).expand(x.shape[:-1])


def undone(factor: Tensor, solution: Tensor, *, upper: bool) -> Tensor:
    """Return │F⁻¹│ │F│ │s│ for rows s: the rounding that solving F s = r commits, in units of ε.

    Source: Higham, *Accuracy and stability of numerical algorithms* (2002), equation 8.4.
    """
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    back = torch.linalg.solve_triangular(factor, eye, upper=upper).abs()
    return solution.abs() @ factor.abs().T @ back.T
