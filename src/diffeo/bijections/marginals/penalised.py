"""A penalised log-density on [0, 1]: as smooth as the data leave it.

log g(v) = Σ_j β_j B_j(v) with cubic B-splines on equal knots; β maximises

    Σ_i log g(v_i) − n ∫ g − ½ λ Σ (Δ³ β)².

The last term is 0 for a quadratic log-density: as λ grows the estimate becomes a (truncated) normal
density, so that few rows are read as little more than a mean and a variance. Estimates of several λ are
averaged with the weights exp(−½ AIC), the degrees of freedom being the trace of the smoother, at 1.6 times
their price in AIC.

Source: Silverman, *On the estimation of a probability density function by the maximum penalized
likelihood method* (1982), for the penalty; Eilers & Marx, *Flexible smoothing with B-splines and
penalties* (1996), sections 4 and 6, for the basis, the counts and AIC.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Bins that data are counted in, for each interval between knots.
_BINS = 8
#: The penalties that are tried.
_WEIGHTS = tuple(10.0 ** (0.75 * k) for k in range(-5, 9))
#: Observations that are added, spread evenly: a gap between two modes has a little mass.
_PSEUDO = 0.5
_NEWTON_STEPS = 60
#: Cubic B-splines so many places apart have no interval in common.
_MEET = 4
#: What a degree of freedom costs, times AIC's price.
_PRICE = 1.6


class LogDensity(NamedTuple):
    """log g, and how well it explains the data.

    Attributes:
        coefficients: β, (segments + 3).
        segments: intervals between knots.
        aic: −2 Σ log g(v_i) + 2 degrees of freedom.
    """

    coefficients: Tensor
    segments: int
    aic: float

    def at(self, v: Tensor) -> Tensor:
        """Return log g(v), not yet normalised."""
        return basis(v, self.segments) @ self.coefficients


def basis(v: Tensor, segments: int) -> Tensor:
    """Return the cubic B-splines on ``segments`` equal intervals of [0, 1] at v, (…, segments + 3).

    >>> basis(torch.tensor([0.0, 0.3]), 2).sum(-1)
    tensor([1.0000, 1.0000])
    """
    centre = torch.arange(-1, segments + 2, dtype=v.dtype)
    away = (v.unsqueeze(-1) * segments - centre).abs()
    near = 2 / 3 - away**2 + away**3 / 2
    far = (2 - away).clamp(min=0) ** 3 / 6
    return torch.where(away < 1, near, far)


def penalised(v: Tensor, segments: int) -> LogDensity:
    """Return the log-density of the values v in [0, 1] averaged over penalties."""
    bins = segments * _BINS
    count = torch.bincount((v * bins).long().clamp(0, bins - 1), minlength=bins).double()
    count = count + _PSEUDO / bins
    rows = float(count.sum())
    b = basis((torch.arange(bins, dtype=torch.float64) + 0.5) / bins, segments)
    size = segments + 3
    difference = torch.eye(size, dtype=torch.float64)
    for _ in range(3):
        difference = difference[1:] - difference[:-1]
    roughness = difference.T @ difference + 1e-9 * torch.eye(size, dtype=torch.float64)
    weights = torch.tensor(_WEIGHTS, dtype=torch.float64)
    penalty = weights.reshape(-1, 1, 1) * roughness
    beta = torch.full((len(weights), size), float((count.sum() / bins).log()), dtype=torch.float64)
    information = penalty
    products, places = _products(b)
    for _ in range(_NEWTON_STEPS):
        expected = (beta @ b.T).exp()
        information = (expected @ products)[:, places]
        score = (count - expected) @ b - (penalty @ beta.unsqueeze(-1)).squeeze(-1)
        lower = torch.linalg.cholesky_ex(information + penalty).L
        step = torch.cholesky_solve(score.unsqueeze(-1), lower).squeeze(-1)
        # A step that changes a density by more than e² is shortened: exp is far from its tangent there.
        longest = (step @ b.T).abs().amax(-1, keepdim=True)
        beta = beta + step * (2 / longest.clamp(min=2))
        if float(longest.max()) < 1e-5:
            break
    log_g = beta @ b.T
    log_g = log_g - torch.logsumexp(log_g, -1, keepdim=True) + torch.tensor(float(bins)).double().log()
    lower = torch.linalg.cholesky_ex(information + penalty).L
    freedom = torch.cholesky_solve(information, lower).diagonal(dim1=-2, dim2=-1).sum(-1)
    # One degree goes into the total; what is left pays AICc's price where rows are few.
    freedom = freedom - 1
    price = 2 * _PRICE * freedom * rows / (rows - freedom - 1).clamp(min=1)
    aic = -2 * log_g @ count + price
    # Few rows cannot tell the penalties apart: a mean (Akaike's weights) varies less than the best.
    share = (-0.5 * (aic - aic.min())).softmax(0)
    centred = beta - torch.logsumexp(beta @ b.T, -1, keepdim=True)
    return LogDensity(share @ centred, segments, float(aic.min()))


def _products(b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the products B_i B_j that are not 0 anywhere, (rows, products), and which of them (i, j) is.

    Splines that are four apart or more do not meet: of their products there is the column of zeros at the
    end.
    """
    size = b.shape[1]
    columns = [b[:, : size - k] * b[:, k:] for k in range(_MEET)]
    products = torch.cat([*columns, b.new_zeros(len(b), 1)], -1)
    starts = torch.tensor([0, *(c.shape[1] for c in columns)]).cumsum(0)
    i = torch.arange(size)
    apart = (i[:, None] - i).abs()
    lesser = torch.minimum(i[:, None], i)
    places = torch.where(apart < _MEET, starts[apart.clamp(max=_MEET - 1)] + lesser, products.shape[1] - 1)
    return products, places
