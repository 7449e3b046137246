"""Products and triangular systems of rows: even, in whole tiles, and a hostile row kept to itself.

In the gradient of a matrix every row has a term, gradient × row: 0 · ∞ of one masked row is NaN for all.
A product therefore sees rows of ordinary size only. A row beyond :func:`~diffeo.kernels.safe.safe_limit` is
divided by its size and multiplied by it afterwards, which a linear map allows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffeo.kernels.safe import safe_limit
from diffeo.kernels.tiles import in_tiles

#: Below this share of a row's largest element, what an infinity contributes is a rounding of nothing.
_TOUCHED = 1e-20


def linear_rows(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return ``function(rows)`` for a linear function of rows, safe for every row.

    An infinite row is infinite where the infinity goes into; a row with NaN is NaN.

    Shapes: ``rows`` is ``batch + (features,)``.

    >>> def swap(rows):
    ...     return rows @ torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    >>> linear_rows(swap, torch.tensor([[1.0, 3.0], [1.0, torch.inf], [torch.nan, 0.0]]))
    tensor([[3.0000, 2.0000], [   inf, 2.0000], [   nan,    nan]])
    """

    def product(rows: Tensor, context: None) -> Tensor:
        return function(rows)

    largest = torch.finfo(rows.dtype).max
    fixed = rows.detach()
    near = torch.where(rows.isnan(), 0.0, rows).clamp(-largest, largest)
    size = near.detach().abs().amax(-1, keepdim=True)
    unit = torch.where(size > safe_limit(rows.dtype), size, 1.0)
    value = in_tiles(product, near / unit)
    infinite = fixed.isinf().any(-1, keepdim=True) & (value.detach().abs() > _TOUCHED)
    value = torch.where(infinite, value.detach() * torch.inf, value * unit)
    return torch.where(fixed.isnan().any(-1, keepdim=True), torch.nan, value)


def solved_rows(factor: Tensor, rows: Tensor, *, upper: bool, unit: bool = False) -> Tensor:
    """Return F⁻¹r for every row r and a triangular F; ``unit`` takes the diagonal of F as ones.

    Shapes: ``factor`` is (D, D), ``rows`` (n, D).

    >>> solved_rows(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[2.0, 3.0]]), upper=False)
    tensor([[1., 2.]])
    """
    features = factor.shape[-1]
    odd = features % 2  # an even size, as in even_linear
    even = pad(factor, (0, odd, 0, odd))
    if odd and not unit:
        even = even + pad(factor.new_ones(1, 1), (features, 0, features, 0))
    right = pad(rows, (0, odd)).T
    solved = torch.linalg.solve_triangular(even, right, upper=upper, unitriangular=unit)
    return solved.T[:, :features]


def rotation(turns: Tensor) -> Tensor:
    """Return the rotation that K rows of turns make of D dimensions: the identity where all are 0.

    Q = R₁ R₂ … R_K, R_k = H(e_k) H(e_k + t_k), H(v) = I − 2 v vᵀ / vᵀv, where e_k is the unit vector k
    (modulo D) and t_k is row k without its element k. e_k + t_k is never 0, so that all of it is smooth
    everywhere: R_k turns the plane of e_k and t_k by twice the angle between e_k and e_k + t_k. For
    K = D − 1 it reaches every rotation, but for a set without volume.

    All reflections are multiplied at once, Q = I − V T Vᵀ, with unit vectors in the columns of V and T the
    inverse of the upper triangle of VᵀV, its diagonal halved.

    Source: Puglisi, *Modification of the Householder method based on the compact WY representation* (1992);
    Joffrain, Low, Quintana-Ortí, van de Geijn & Van Zee, *Accumulating Householder transformations,
    revisited* (2006).

    Shapes: ``turns`` is (K, D), the result (D, D).

    >>> rotation(torch.tensor([[0.0, 1.0]])).abs().round()  # 45° between the mirrors: a quarter turn
    tensor([[0., 1.], [1., 0.]])
    """
    count, features = turns.shape
    eye = torch.eye(features, dtype=turns.dtype, device=turns.device)
    if count == 0:
        return eye
    fixed = eye[torch.arange(count, device=turns.device) % features]
    free = fixed + turns * (1 - fixed)
    # In units of its largest element, which is at least 1: no square overflows.
    free = free / free.detach().abs().amax(-1, keepdim=True)
    free = free / free.square().sum(-1, keepdim=True).sqrt()
    mirrors = torch.stack([fixed, free], 1).reshape(2 * count, features)
    overlap = (mirrors @ mirrors.T).triu(1)
    half = 0.5 * torch.eye(2 * count, dtype=turns.dtype, device=turns.device)
    combined = torch.linalg.solve_triangular(overlap + half, mirrors, upper=True)
    return eye - mirrors.T @ combined
