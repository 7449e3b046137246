"""A triangular matrix: Cholesky's factor as a learnable map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffeo.bijections.linear import Linear, undone
from diffeo.bijections.pattern import Pattern, lower
from diffeo.errors import flag, number
from diffeo.kernels.linear import solved_rows
from diffeo.kernels.safe import bounded
from diffeo.kernels.tiles import even_linear
from diffeo.registry import register


@register("bijections.Triangular")
class Triangular(Linear):
    """x = T z with T triangular and a positive diagonal exp(s); log │det T│ = Σ s.

    After a standard normal, the lower one is every normal density with mean 0. It starts at the identity.

    Args:
        features: D.
        lower: whether T is lower triangular; otherwise upper.
        bound: the largest │s│, s = bound · tanh(raw / bound).

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> x, log_det = Triangular(3)(torch.ones(2, 3))
    >>> x.tolist(), log_det.tolist()
    ([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], [0.0, 0.0])
    """

    def __init__(self, features: int, lower: bool = True, bound: float = 5.0) -> None:
        super().__init__(features)
        flag("lower", lower)
        number("bound", bound, above=0, most=20)
        self.lower, self.bound = lower, bound
        # Only one side of the diagonal is read.
        self.weight = nn.Parameter(torch.zeros(features, features))
        self.raw_log_diagonal = nn.Parameter(torch.zeros(features))

    @property
    def log_diagonal(self) -> Tensor:
        """Return s, shape (D,)."""
        return bounded(self.raw_log_diagonal, self.bound)

    def matrix(self) -> Tensor:
        """Return T, shape (D, D)."""
        beside = self.weight.tril(-1) if self.lower else self.weight.triu(1)
        return beside + torch.diag(self.log_diagonal.exp())

    def log_det(self) -> Tensor:
        """Return Σ s."""
        return self.log_diagonal.sum()

    def mapped(self, rows: Tensor) -> Tensor:
        """Return T z."""
        return even_linear(rows, self.matrix())

    def unmapped(self, rows: Tensor) -> Tensor:
        """Return T⁻¹ x, by substitution."""
        return solved_rows(self.matrix(), rows, upper=not self.lower)

    def pattern(self, *, inverse: bool) -> Pattern:
        """Return the triangle."""
        return lower(self.features, upper=not self.lower)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sums of absolute terms of the product, and what substitution makes of them."""
        matrix = self.matrix()
        if inverse:
            return undone(matrix, value, upper=not self.lower)
        return given.abs() @ matrix.abs().T
