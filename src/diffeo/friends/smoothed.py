"""Kernel densities of single columns, as maps to and from the standard normal.

With kernels at cᵢ of widths hᵢ, f(u) = 1/m Σᵢ φ((u − cᵢ) / hᵢ) / hᵢ and F(u) = 1/m Σᵢ Φ((u − cᵢ) / hᵢ). The
normal score z = Φ⁻¹(F(u)) is standard normal where u ~ f. Far from the data F is computed in logarithms of
the smaller tail, where it would otherwise be 0 or 1.

Kernels are the wider the fewer rows are beside them, hᵢ = h √(g / f₀(cᵢ)), with f₀ a first estimate and g
its geometric mean: one width for all would be too wide where rows are dense, or leave rows of a long tail
with no density to speak of.

Source: Abramson, *On bandwidth variation in kernel estimates: a square root law* (1982); Silverman,
*Density estimation* (1986), section 5.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffeo.kernels.normal import log_lower, lower_quantile
from diffeo.kernels.roots import monotone_root

#: Distances from a kernel, in its widths, beyond which its density is said to be 0: exp(−5 · 10¹⁵).
REACH = 1e8

#: Rows that choose a width, at most.
_JUDGES = 512

#: Widths h that are tried, in units of Scott's rule.
_TRIED = torch.logspace(math.log10(1 / 12), math.log10(3), 21, dtype=torch.float64)

#: Numbers that are made at a time: rows times kernels.
_AT_ONCE = 2**20

_LOG_2PI = math.log(2 * math.pi)
_ROOT_HALF = math.sqrt(0.5)


def thinned(column: Tensor, most: int) -> Tensor:
    """Return the column sorted, or ``most`` of its order statistics, first and last included."""
    ordered = column.sort().values
    if len(ordered) <= most:
        return ordered
    return ordered[torch.linspace(0, len(ordered) - 1, most, dtype=torch.float64).round().long()]


def kernels_of(column: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return centres and widths of at most ``most`` kernels for the rows of a column.

    h has the largest leave-one-out log-likelihood of up to 512 rows. It is tried in units of Scott's rule
    s n^(−1/5), with s the smaller of the standard deviation and the quartiles' distance / 1.349, so that a
    few rows far away do not widen the kernels of all others.
    """
    centres, sample = thinned(column, most), thinned(column, _JUDGES)
    low, high = torch.quantile(sample, torch.tensor([0.25, 0.75], dtype=sample.dtype))
    spread, quartiles = float(sample.std(correction=0)), float(high - low) / 1.349
    unit = min(spread, quartiles) if quartiles > 0 else spread
    unit = unit if unit > 0 else 1.0
    scott = unit * len(sample) ** -0.2
    log_first = _first(sample, sample, scott)
    wider = (0.5 * (log_first.mean() - log_first)).exp()
    away = (sample[:, None] - sample).fill_diagonal_(torch.inf) / wider
    gains = [
        (torch.logsumexp(-0.5 * (away / h).square() - wider.log(), 1) - h.log()).mean()
        for h in _TRIED * scott
    ]
    h = float(_TRIED[int(torch.stack(gains).argmax())]) * unit * len(column) ** -0.2
    return centres, h * (0.5 * (log_first.mean() - _first(centres, sample, scott))).exp()


def _first(u: Tensor, sample: Tensor, width: float) -> Tensor:
    """Return log f₀(u), up to a constant: kernels of one width at the rows of a sample."""
    return torch.logsumexp(-0.5 * ((u[:, None] - sample) / width).square(), 1)


def log_density(u: Tensor, centres: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """Return log f(u) and the normal score z of each u; −inf and a finite score beyond the reach."""
    found = [_log_density(part, centres, widths) for part in u.split(_rows_at_once(centres))]
    log_f, z = zip(*found, strict=True) if found else ((u,), (u,))
    return torch.cat(log_f), torch.cat(z)


def _log_density(u: Tensor, centres: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    a = (u[:, None] - centres) / widths
    near = a.abs().amin(1) <= REACH
    a = a.clamp(-REACH, REACH)
    log_f = torch.logsumexp(-0.5 * a.square() - widths.log(), 1) - 0.5 * _LOG_2PI - math.log(len(centres))
    below, above = _masses(a)
    log_below, log_above = below.log(), above.log()
    # Masses that a float64 hardly holds are summed again in logarithms, which takes ten times as long.
    far = torch.minimum(below, above) < 1e-200
    log_below[far] = torch.logsumexp(log_lower(a[far]), 1) - math.log(len(centres))
    log_above[far] = torch.logsumexp(log_lower(-a[far]), 1) - math.log(len(centres))
    return torch.where(near, log_f, -torch.inf), _score(log_below, log_above)


def _masses(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of Φ(a) and of Φ(−a) over the last dimension."""
    less = 0.5 * torch.special.erfc(_ROOT_HALF * a.abs())
    more = 1 - less
    low = a < 0
    return torch.where(low, less, more).mean(-1), torch.where(low, more, less).mean(-1)


def _score(log_below: Tensor, log_above: Tensor) -> Tensor:
    """Return Φ⁻¹ of a mass, from the logarithms of what is below and above."""
    size = -lower_quantile(torch.minimum(log_below, log_above).clamp(max=-math.log(2)))
    return torch.where(log_below < log_above, -size, size)


def quantile(z: Tensor, centres: Tensor, widths: Tensor) -> Tensor:
    """Return u with normal score z, F(u) = Φ(z), for scores that a normal draw can have."""
    # A table of the score brackets each root, so that few evaluations are left.
    some = torch.linspace(0, len(centres) - 1, min(len(centres), 64)).round().long()
    beside = torch.tensor([-40.0, -8, -4, -2, -1, 0, 1, 2, 4, 8, 40], dtype=z.dtype)
    table = (centres[some, None] + widths[some, None] * beside).flatten().sort().values
    scores = _score_of(table, centres, widths)[0].cummax(0).values

    def found(part: Tensor) -> Tensor:
        def score(u: Tensor) -> tuple[Tensor, Tensor]:
            return _score_of(u, centres, widths)

        at = torch.searchsorted(scores, part).clamp(1, len(table) - 1)
        return monotone_root(score, part, table[at - 1], table[at]).value

    parts = [found(part) for part in z.split(_rows_at_once(centres))]
    return torch.cat(parts) if parts else z


def _score_of(u: Tensor, centres: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the normal score and the logarithm of its slope, where F is no smaller than 10⁻³⁰⁰."""
    a = (u[:, None] - centres) / widths
    tiny = torch.finfo(u.dtype).tiny
    below, above = _masses(a)
    z = _score(below.clamp(min=tiny).log(), above.clamp(min=tiny).log())
    log_f = ((-0.5 * a.square()).exp() / widths).mean(1).clamp(min=tiny).log()
    return z, log_f + 0.5 * z.square()


def _rows_at_once(centres: Tensor) -> int:
    return max(1, _AT_ONCE // len(centres))
