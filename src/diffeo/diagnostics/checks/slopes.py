"""The slope of a law stays within its promised bounds, and is positive."""

from __future__ import annotations

import torch

from diffeo.diagnostics.checks.subject import check
from diffeo.diagnostics.figure import Figure
from diffeo.laws import Law


@check("slopes within their bounds", "A8")
@torch.no_grad()
def slope_bounds(
    law: Law,
    draws: int = 1_000_000,
    *,
    dtype: torch.dtype = torch.float64,
    generator: torch.Generator | None = None,
) -> Figure:
    """Count slopes ∂v/∂u outside ``law.slope_bounds()`` over random u and θ, in both directions.

    u and θ are normal draws times scales from 10⁻³ to 10³, so that saturated parameters are met too.
    ``worst`` is how far the worst log-slope lies outside its bounds, beyond one rounding.

    >>> from diffeo.laws import Affine
    >>> slope_bounds(Affine(), 1000, generator=torch.Generator().manual_seed(0)).failed
    0
    """
    low, high = (torch.tensor(b, dtype=torch.float64).log() for b in law.slope_bounds())
    source = torch.Generator().manual_seed(0) if generator is None else generator
    failed, worst = 0, 0.0
    chunk = 100_000
    for at in range(0, draws, chunk):
        n = min(chunk, draws - at)
        shape = (n, 1 + law.n_params)
        size = 10.0 ** (6 * torch.rand(shape, generator=source, dtype=dtype) - 3)
        numbers = torch.randn(shape, generator=source, dtype=dtype) * size
        u, theta = numbers[:, 0], numbers[:, 1:]
        for log_slope in (law.forward(u, theta)[1], -law.inverse(u, theta)[1]):
            rounding = 4 * torch.finfo(dtype).eps * log_slope.double().abs().clamp(min=1.0)
            outside = torch.maximum(low - log_slope.double(), log_slope.double() - high) - rounding
            failed += int((~(outside <= 0)).sum())
            worst = max(worst, float(torch.nan_to_num(outside, nan=torch.inf).amax()))
    return Figure(
        f"slopes of {type(law).__name__} within their bounds",
        worst=max(worst, 0.0),
        limit=0.0,
        tested=2 * draws,
        failed=failed,
        detail=f"promised slopes in [{law.slope_bounds()[0]:.3g}, {law.slope_bounds()[1]:.3g}]",
        figure="A8",
    )
