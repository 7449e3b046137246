"""Rotations by Householder reflections, and the two factorisations that they go into."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffeo.bijections.linear import Linear, undone
from diffeo.bijections.triangular import Triangular
from diffeo.errors import at_least, number
from diffeo.kernels.linear import rotation
from diffeo.kernels.safe import bounded
from diffeo.kernels.tiles import even_linear
from diffeo.registry import register


@register("bijections.Orthogonal")
class Orthogonal(Linear):
    """x = Q z with Q a rotation, the product of K learnable reflections, each after a fixed one.

    Q = Π_k H(e_k) H(e_k + t_k), H(v) = I − 2 v vᵀ / vᵀv, t_k without its element k; log │det Q│ = 0. The
    fixed partners make it the identity at t = 0, where it starts, and keep every vector away from 0, where
    a reflection is not defined.

    Source: Tomczak & Welling, *Improving variational auto-encoders using Householder flow* (2016), section
    2; their reflections are not paired.

    Args:
        features: D.
        reflections: K; None for D, which reach every rotation but for a set without volume.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> layer = Orthogonal(3)
    >>> layer(torch.ones(2, 3))
    (tensor([[1., 1., 1.], [1., 1., 1.]], grad_fn=...), tensor([0., 0.]))
    """

    def __init__(self, features: int, reflections: int | None = None) -> None:
        super().__init__(features)
        at_least("reflections", reflections, 1, optional=True)
        self.turns = nn.Parameter(torch.zeros(features if reflections is None else reflections, features))

    def matrix(self) -> Tensor:
        """Return Q, shape (D, D)."""
        return rotation(self.turns)

    def log_det(self) -> Tensor:
        """Return 0."""
        return self.turns.new_zeros(())

    def mapped(self, rows: Tensor) -> Tensor:
        """Return Q z."""
        return even_linear(rows, self.matrix())

    def unmapped(self, rows: Tensor) -> Tensor:
        """Return Qᵀ x."""
        return even_linear(rows, self.matrix().T)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the norm of the row, which also bounds what the roundings of Q itself do."""
        return torch.linalg.vector_norm(given, dim=-1, keepdim=True).clamp(min=1.0).expand_as(value)


@register("bijections.QR")
class QR(Linear):
    """x = Q R z: an upper triangle with the diagonal exp(s), then a rotation; log │det W│ = Σ s.

    Up to its bound it reaches every matrix with a positive determinant, but for a set without volume, and
    needs no permutation for that, which :class:`LU` does. It starts at the identity.

    Source: Hoogeboom, van den Berg & Welling, *Emerging convolutions for generative normalizing flows*
    (2019).

    Args:
        features: D.
        reflections: K of the rotation; None for D.
        bound: the largest │s│.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> QR(3)(torch.ones(3))
    (tensor([1., 1., 1.], grad_fn=...), tensor(0., grad_fn=...))
    """

    def __init__(self, features: int, reflections: int | None = None, bound: float = 5.0) -> None:
        super().__init__(features)
        self.orthogonal = Orthogonal(features, reflections)
        self.triangular = Triangular(features, lower=False, bound=bound)

    def matrix(self) -> Tensor:
        """Return Q R, shape (D, D)."""
        return self.orthogonal.matrix() @ self.triangular.matrix()

    def log_det(self) -> Tensor:
        """Return Σ s."""
        return self.triangular.log_det()

    def mapped(self, rows: Tensor) -> Tensor:
        """Return Q (R z)."""
        return self.orthogonal.mapped(self.triangular.mapped(rows))

    def unmapped(self, rows: Tensor) -> Tensor:
        """Return R⁻¹ (Qᵀ x)."""
        return self.triangular.unmapped(self.orthogonal.unmapped(rows))

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the rounding of the rotation, seen through R⁻¹ on the way back, and that of R."""
        upper = self.triangular.matrix()
        size = torch.linalg.vector_norm(given if inverse else value, dim=-1, keepdim=True).clamp(min=1.0)
        if not inverse:
            return size + torch.linalg.vector_norm(given.abs() @ upper.abs().T, dim=-1, keepdim=True)
        eye = torch.eye(self.features, dtype=upper.dtype, device=upper.device)
        back = torch.linalg.solve_triangular(upper, eye, upper=True).abs()
        return size * back.sum(-1) + undone(upper, value, upper=True)


@register("bijections.SVD")
class SVD(Linear):
    """x = U diag(exp s) Vᵀ z with two rotations; log │det W│ = Σ s.

    The singular values are bounded: so is the condition number, by exp(2 · bound), whatever the parameters
    are. It starts at the identity.

    Source: Zhang, Lei & Dhillon, *Stabilizing gradients for deep neural networks via efficient SVD
    parameterization* (2018), with the rotations of :class:`Orthogonal`.

    Args:
        features: D.
        reflections: K of each rotation; None for D.
        bound: the largest │s│, s = bound · tanh(raw / bound).

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> SVD(3)(torch.ones(3))
    (tensor([1., 1., 1.], grad_fn=...), tensor(0., grad_fn=...))
    """

    def __init__(self, features: int, reflections: int | None = None, bound: float = 5.0) -> None:
        super().__init__(features)
        number("bound", bound, above=0, most=20)
        self.bound = bound
        self.left = Orthogonal(features, reflections)
        self.right = Orthogonal(features, reflections)
        self.raw_log_scale = nn.Parameter(torch.zeros(features))

    @property
    def log_scale(self) -> Tensor:
        """Return s, shape (D,), the logarithms of the singular values."""
        return bounded(self.raw_log_scale, self.bound)

    def matrix(self) -> Tensor:
        """Return U diag(exp s) Vᵀ, shape (D, D)."""
        return (self.left.matrix() * self.log_scale.exp()) @ self.right.matrix().T

    def log_det(self) -> Tensor:
        """Return Σ s."""
        return self.log_scale.sum()

    def mapped(self, rows: Tensor) -> Tensor:
        """Return U (exp s · (Vᵀ z))."""
        return self.left.mapped(self.right.unmapped(rows) * self.log_scale.exp())

    def unmapped(self, rows: Tensor) -> Tensor:
        """Return V (exp(−s) · (Uᵀ x))."""
        return self.right.mapped(self.left.unmapped(rows) * (-self.log_scale).exp())

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the norm of the row times the largest stretch."""
        stretch = (-self.log_scale if inverse else self.log_scale).amax().exp()
        size = torch.linalg.vector_norm(given, dim=-1, keepdim=True).clamp(min=1.0)
        return (size * stretch).expand_as(value)
