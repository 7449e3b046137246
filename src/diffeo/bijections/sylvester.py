"""The Sylvester layer: several planar folds at once, in orthogonal directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffeo.bijections.solved import Passed, Solved, Steering
from diffeo.errors import ConfigError, at_least
from diffeo.kernels.floored import floored
from diffeo.kernels.roots import Root, monotone_root
from diffeo.kernels.solve import SolveInfo
from diffeo.kernels.tiles import even_linear
from diffeo.registry import register

#: Products of the diagonals stay above minus this, so that no slope is below one minus it.
FLOOR = 0.9


class _Folds(NamedTuple):
    """Q (D, M), the upper triangular R and R̃ (rows, M, M) or (M, M), b, and the products r_mm r̃_mm."""

    q: Tensor
    outer: Tensor
    inner: Tensor
    b: Tensor
    slopes: Tensor


@register("bijections.Sylvester")
class Sylvester(Solved):
    """z = x + Q R tanh(R̃ Qᵀx + b), with Q of M orthonormal columns, R and R̃ upper triangular.

    log │det ∂z/∂x│ = Σ_m log(1 + r_mm r̃_mm tanh′(·)_m). Q is a product of M Householder reflections; the
    products r_mm r̃_mm stay above −0.9 by a smooth factor of r_mm, so that the map is onto and has an
    inverse. R starts at 0: untrained, the map is the identity. With M = 1 it is a planar layer, û along w.

    ``inverse`` (x → z, the direction of the density) is the formula. ``forward`` solves the triangular
    system for Qᵀx from its last line to its first: M roots, each in one dimension and bracketed, so always
    found.

    Source: van den Berg, Hasenclever, Tomczak & Welling, *Sylvester normalizing flows for variational
    inference* (2018), theorem 1 and its Householder variant (H-SNF), with x → z in the place of the
    paper's z → x.

    Args:
        features: D.
        units: M, at most D; None for D.
        context: features of the context, which then moves R, R̃ and b.
        hidden: hidden widths of the network that reads the context.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> layer = Sylvester(3, units=2)
    >>> x, log_det = layer(torch.ones(4, 3))
    >>> x.shape, log_det.tolist()
    (torch.Size([4, 3]), [0.0, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        features: int,
        units: int | None = None,
        context: int = 0,
        *,
        hidden: Sequence[int] = (32,),
    ) -> None:
        super().__init__(features, context)
        at_least("units", units, 1, optional=True)
        count = features if units is None else units
        if count > features:
            raise ConfigError(
                f"units={count} must be at most features={features}: no more directions are orthogonal."
            )
        self.units = count
        self.reflections = nn.Parameter(nn.init.normal_(torch.empty(count, features)))
        self.outer = nn.Parameter(torch.zeros(count, count))
        self.inner = nn.Parameter(nn.init.normal_(torch.empty(count, count), std=count**-0.5))
        self.b = nn.Parameter(torch.zeros(count))
        self.steering = Steering(context, [count * count, count * count, count], hidden)

    def to_noise(self, x: Tensor, context: Tensor | None) -> Passed:
        """Return z and log │det ∂z/∂x│ of rows."""
        folds = self._steered(x, context)
        moved, log_det = _moved(folds, even_linear(x, folds.q.T))
        return x + moved, log_det, None

    def to_data(self, z: Tensor, context: Tensor | None) -> Passed:
        """Return x, with y = Qᵀx from Qᵀz = y + R tanh(R̃ y + b)."""
        folds = self._steered(z, context)
        target = even_linear(z, folds.q.T)
        y, heights, roots = target[:, :0], target[:, :0], list[Root]()
        for m in reversed(range(self.units)):
            line, later = folds.outer[..., m, :], slice(m + 1, None)
            shift = folds.b[..., m] + (folds.inner[..., m, later] * y).sum(-1)
            rest = target[:, m] - (line[..., later] * heights).sum(-1)
            root, height = _root(rest, line[..., m], folds.inner[..., m, m], shift, folds.slopes[..., m])
            y, heights = torch.cat([root.value[:, None], y], -1), torch.cat([height[:, None], heights], -1)
            roots.append(root)
        _, log_det = _moved(folds, y)
        info = SolveInfo(
            torch.stack([root.converged for root in roots]).all(0),
            torch.stack([root.residual for root in roots]).amax(0),
            torch.stack([root.iterations for root in roots]).sum(0),
        )
        # R tanh(·) is what Qᵀz and y differ by: known to a rounding, however steep the folds are.
        return z - even_linear(target - y, folds.q), -log_det, info

    def _steered(self, x: Tensor, context: Tensor | None) -> _Folds:
        by_outer, by_inner, by_b = self.steering(x, context)
        outer, inner = _upper(self.outer, by_outer), _upper(self.inner, by_inner)
        product = outer.diagonal(dim1=-2, dim2=-1) * inner.diagonal(dim1=-2, dim2=-1)
        factor = floored(product, FLOOR)
        kept = outer.triu(1) + torch.diag_embed(outer.diagonal(dim1=-2, dim2=-1) * factor)
        return _Folds(self._orthonormal(), kept, inner, self.b + by_b, product * factor)

    def _orthonormal(self) -> Tensor:
        """Return the first columns of the product of the reflections I − 2 v vᵀ / ‖v‖²; v = 0 is none."""
        columns = torch.eye(self.features, dtype=self.b.dtype, device=self.b.device)[:, : self.units]
        for v in self.reflections.unbind(0):
            length = (v * v).sum()
            columns = columns - torch.outer(v * (2 / torch.where(length > 0, length, 1.0)), v @ columns)
        return columns


def _upper(raw: Tensor, added: Tensor | float) -> Tensor:
    """Return the upper triangle of a matrix, one for each row where a context adds to it."""
    return (raw + added.unflatten(-1, raw.shape) if isinstance(added, Tensor) else raw).triu()


def _moved(folds: _Folds, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q R tanh(R̃ y + b) and log │det ∂z/∂x│."""
    height = torch.tanh((folds.inner * y.unsqueeze(-2)).sum(-1) + folds.b)
    moved = even_linear((folds.outer * height.unsqueeze(-2)).sum(-1), folds.q)
    return moved, torch.log1p(folds.slopes * (1 - height * height)).sum(-1)


def _root(rest: Tensor, outer: Tensor, inner: Tensor, shift: Tensor, slope: Tensor) -> tuple[Root, Tensor]:
    """Return the root u of u + r tanh(r̃ u + shift) = rest, where ``slope`` is r r̃; and the tanh there."""

    def curve(u: Tensor) -> tuple[Tensor, Tensor]:
        height = torch.tanh(inner * u + shift)
        return u + outer * height, torch.log1p(slope * (1 - height * height))

    root = monotone_root(curve, rest, rest - outer.abs(), rest + outer.abs())
    return root, torch.tanh(inner * root.value + shift)
