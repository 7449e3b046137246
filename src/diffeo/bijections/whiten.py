"""Whitening: the full-covariance Gaussian as a bijection."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.statistics import finite_rows
from diffeo.errors import at_least, number, one_of
from diffeo.kernels.safe import safe_limit
from diffeo.kernels.shapes import check_event
from diffeo.kernels.tiles import even_linear, in_tiles
from diffeo.registry import register

#: The square roots A of a covariance.
METHODS = ("pca", "cholesky", "zca")


@register("bijections.Whiten")
class Whiten(Bijection):
    """x = A z + mean with A Aᵀ the covariance of the training rows; log │det A│ is exact.

    A flow that ends in it starts at the full-covariance Gaussian of its data. Put
    :class:`Standardize` after it (nearer the data) when columns differ in scale by many orders.

    Args:
        features: the number of features D.
        method: "pca" (A = Q diag(√λ), by the eigendecomposition), "cholesky" (A lower triangular), or "zca"
            (A = Q diag(√λ) Qᵀ, the symmetric root: of all whitenings the one that moves rows least, so that
            a pixel stays a pixel; Bell & Sejnowski 1997, section 3).
        floor: the smallest eigenvalue kept, relative to the largest: collinear or constant columns
            then cost no invertibility.

    >>> noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    >>> x = noise @ torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    >>> z, _ = Whiten(2).initialise(x).inverse(x)
    >>> torch.allclose(z.T @ z / 500, torch.eye(2), atol=1e-5)
    True
    """

    def __init__(self, features: int, method: str = "pca", floor: float = 1e-10) -> None:
        super().__init__()
        at_least("features", features, 1)
        one_of("method", method, METHODS)
        number("floor", floor, above=0, below=1)
        self.features, self.method, self.floor = features, method, floor
        self.event_shape = torch.Size([features])
        self.register_buffer("mean", torch.zeros(features))
        # pca, zca: the eigenvectors in columns; cholesky: the triangular factor with its unit diagonal.
        self.register_buffer("factor", torch.eye(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("initialised", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Set mean and factor from the finite rows of ``x``, unless that was done before."""
        if bool(self.get_buffer("initialised")):
            return self
        rows = finite_rows(x, torch.Size([self.features]), "Whiten")
        mean = rows.mean(0)
        centred = rows - mean
        return self.place(mean, centred.T @ centred / rows.shape[0])

    @torch.no_grad()
    def place(self, mean: Tensor, covariance: Tensor) -> Self:
        """Set mean and factor by the moments (D,) and (D, D) of rows that were summed elsewhere."""
        covariance = covariance.double()
        largest = covariance.diagonal().amax().clamp(min=torch.finfo(torch.float64).tiny)
        # Computed on the unit scale, where neither 1e-300 nor 1e300 loses digits.
        values, vectors = torch.linalg.eigh(covariance / largest)
        values = values.clamp(min=self.floor * float(values[-1].clamp(min=self.floor)))
        if self.method == "cholesky":
            lower = torch.linalg.cholesky(vectors * values @ vectors.T)
            scale = lower.diagonal().clone()
            factor = lower / scale
        else:
            factor, scale = vectors, values.sqrt()
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("factor").copy_(factor)
        self.get_buffer("scale").copy_(scale * largest.sqrt())
        self.get_buffer("initialised").fill_(True)
        return self

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return A z + mean and log │det A│."""
        check_event("z", z, (self.features,))
        return in_tiles(self._coloured, z), self._log_det().expand(z.shape[:-1])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return A⁻¹(x − mean) and −log │det A│."""
        check_event("x", x, (self.features,))
        return in_tiles(self._whitened, x), (-self._log_det()).expand(x.shape[:-1])

    def _coloured(self, z: Tensor, context: None = None) -> Tensor:
        near, unit = _in_range(z)
        turned = self._turned_back(near / unit) if self.method == "zca" else near / unit
        spread = even_linear(turned * self.get_buffer("scale"), self.get_buffer("factor"))
        return _restored(spread, unit, z) + self.get_buffer("mean")

    def _whitened(self, x: Tensor, context: None = None) -> Tensor:
        near, unit = _in_range(x)
        centred, factor = near / unit - self.get_buffer("mean") / unit, self.get_buffer("factor")
        scale = self.get_buffer("scale")
        if self.method == "cholesky":
            odd = self.features % 2  # an even size, as in even_linear
            factor = torch.nn.functional.pad(factor, (0, odd, 0, odd))
            rows = torch.nn.functional.pad(centred, (0, odd)).T
            solved = torch.linalg.solve_triangular(factor, rows, upper=False, unitriangular=True)
            return _restored(solved.T[:, : self.features] / scale, unit, x)
        value = self._turned_back(centred)
        if self.method == "pca":
            return _restored(value / scale, unit, x)
        least = scale.amin()  # the quotients of the sum stay in range; what is common is divided by last
        return _restored(even_linear(value / (scale / least), factor) / least, unit, x)

    def _turned_back(self, rows: Tensor) -> Tensor:
        """Return Q⁻¹ applied to rows."""
        deviation, factor = self._deviation(), self.get_buffer("factor")
        value = even_linear(rows, factor.T)
        if deviation is not None:
            # (I + E)⁻¹ = I − E + E² − E³, applied to rows; the next term is below any rounding.
            turned = value
            for _ in range(3):
                value = turned - even_linear(value, deviation)
        return value

    def _deviation(self) -> Tensor | None:
        """Return E = QᵀQ − I, by which the stored eigenvectors Q miss orthogonality; None in float32.

        A model fitted in float32 may be computed in float64: there Qᵀ alone would miss Q⁻¹ by 1e-7.
        """
        factor = self.get_buffer("factor")
        if factor.dtype != torch.float64:
            return None
        return factor.T @ factor - torch.eye(self.features, dtype=factor.dtype, device=factor.device)

    def _log_det(self) -> Tensor:
        log_det = self.get_buffer("scale").log().sum()
        deviation = self._deviation() if self.method == "pca" else None  # of zca, Q and Q⁻¹ cancel
        if deviation is None:
            return log_det
        # log │det Q│ = ½ log det(I + E), by the same series.
        return log_det + 0.5 * (deviation.diagonal().sum() - 0.5 * deviation.square().sum())

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sums of absolute terms in the matrix products."""
        mean, scale = self.get_buffer("mean").abs(), self.get_buffer("scale")
        factor = self.get_buffer("factor").abs()
        if inverse:
            rows = given.abs() + mean
            if self.method == "cholesky":
                return rows @ torch.linalg.inv(factor).abs().T / scale
            turned = rows @ factor / scale
            return turned @ factor.T if self.method == "zca" else turned
        turned = given.abs() @ factor if self.method == "zca" else given.abs()
        return (turned * scale) @ factor.T + mean


def _in_range(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows without infinities, and for each the unit in which its products cannot overflow.

    The unit is 1 but for rows beyond the safe limit. Of two infinite terms a product makes NaN, so an
    infinity is read as the largest number, and :func:`_restored` puts it back.
    """
    largest = torch.finfo(rows.dtype).max
    near = rows.clamp(-largest, largest)
    size = torch.nan_to_num(near.detach().abs().amax(-1, keepdim=True), nan=1.0)
    return near, (size / safe_limit(rows.dtype)).clamp(min=1.0)


def _restored(value: Tensor, unit: Tensor, rows: Tensor) -> Tensor:
    """Return ``value`` out of its unit, infinite where an infinity of its row has gone into it."""
    infinite = rows.detach().isinf().any(-1, keepdim=True) & (value.detach().abs() >= 1)
    return torch.where(infinite, value.detach() * torch.inf, value * unit)
