"""The sampler draws from the density that the flow states."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from diffeo.bijections.rounding import predicted_error
from diffeo.diagnostics.checks.mass import cells
from diffeo.diagnostics.checks.quadrature import Cubature
from diffeo.diagnostics.checks.subject import check, precision
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow


@check("log-density of samples", "A9")
@torch.no_grad()
def sample_log_prob(
    flow: Flow,
    context: Tensor | None = None,
    *,
    draws: int = 256,
    limit: float = 1e-4,
    seed: int = 0,
) -> Figure:
    """Measure |sample_and_log_prob's density − log_prob(sample)| in nats, in the flow's own precision.

    Relative to max(1, |log p|). Rows whose predicted round-trip error, times the slope of log p at their z
    (or ten, if that is more), is above the limit are left out and counted in the detail: their density
    moves by more than the limit when z comes back so far off.

    >>> from diffeo.bijections import Scale
    >>> from diffeo.distributions import StandardNormal
    >>> sample_log_prob(Flow(StandardNormal(1), Scale(1))).ok
    True
    """
    own = copy.deepcopy(flow).eval()
    generator = torch.Generator(own.base.device).manual_seed(seed)
    x, said = own.sample_and_log_prob((draws,), context, generator=generator)
    found = own.log_prob(x, context)
    error = ((said - found).abs() / said.abs().clamp(min=1.0)).reshape(-1)
    batch = (draws, *(() if context is None else context.shape[:-1]))
    z = own.base.sample(batch, context, generator=generator.manual_seed(seed))  # the same draws
    moved = predicted_error(own.bijection, z, context) * _steepness(own, z, context).clamp(min=10.0)
    trusted = (moved < limit).reshape(-1)
    bad = trusted & ~(error <= limit)
    kept = error[trusted]
    left_out = int((~trusted).sum())
    return Figure(
        f"log-density of samples, {precision(own.dtype)}",
        worst=float(kept.amax()) if len(kept) else 0.0,
        limit=limit,
        tested=len(kept),
        failed=int(bad.sum()),
        detail=f"{left_out} ill-conditioned rows left out" if left_out else "",
        figure="A9",
    )


def _steepness(flow: Flow, z: Tensor, context: Tensor | None) -> Tensor:
    """Return ‖∇ log p(f(z))‖ of each row, in float64."""
    exact = copy.deepcopy(flow).double()
    given = None if context is None else context.double()
    with torch.enable_grad():
        leaf = z.double().requires_grad_()
        _, log_det = exact.bijection(leaf, given)
        log_p = (exact.base.log_prob(leaf, given) - log_det).sum() + 0.0 * leaf.sum()  # constant, it may be
        (slope,) = torch.autograd.grad(log_p, leaf)
    return slope.flatten(slope.ndim - exact.bijection.event_ndim).norm(dim=-1)


@check("samples follow the density", "A9")
@torch.no_grad()
def sampler_matches_density(
    flow: Flow,
    context: Tensor | None = None,
    *,
    draws: int = 20_000,
    most: int = 1_500_000,
    seed: int = 0,
    cubature: Cubature | None = None,
) -> Figure:
    """Test samples against the quadrature of the density, one or two features, by χ² on its boxes.

    ``worst`` is −log₁₀ p, the limit 4: p ≥ 1e-4. ``context`` is one row, (features,); ``most`` limits the
    evaluations of the quadrature, which may be there already as ``cubature``.

    >>> from diffeo.bijections import Scale
    >>> from diffeo.distributions import StandardNormal
    >>> sampler_matches_density(Flow(StandardNormal(1), Scale(1)), draws=2000).ok
    True
    """
    dim = flow.event_shape.numel()
    name = "−log₁₀ p that samples follow the density"
    if dim > 2:
        detail = f"not computed: the flow has {dim} features, quadrature takes at most 2"
        return Figure(name, 0.0, 4.0, 0, 0, detail=detail, figure="A9")
    row = context.reshape(-1, context.shape[-1])[0].double() if context is not None else None
    exact = copy.deepcopy(flow).double().eval()
    cubature = cubature or cells(exact, row, tolerance=1e-4, most=most, seed=seed)
    if cubature.doubt > 1e-3:
        detail = "not judged: the density is too finely folded for the quadrature"
        return Figure(name, 0.0, 4.0, 0, 0, detail=detail, figure="A9")
    generator = torch.Generator(exact.base.device).manual_seed(seed + 1)
    samples = exact.sample((draws,), row, generator=generator).reshape(draws, -1)
    p_value, groups = _chi_square(cubature, samples)
    return Figure(
        name,
        worst=abs(math.log10(max(p_value, 1e-300))),
        limit=4.0,
        tested=draws,
        failed=int(not p_value >= 1e-4),
        detail=f"χ² on {groups} boxes: p = {p_value:.3g}",
        figure="A9",
    )


def _chi_square(cubature: Cubature, samples: Tensor) -> tuple[float, int]:
    """Return the p-value of the counts of ``samples`` in boxes, merged until 20 are expected in each."""
    counts = torch.zeros_like(cubature.mass)
    for part in samples.split(1000):
        inside = (part[:, None] >= cubature.low) & (part[:, None] < cubature.high)
        counts += inside.all(-1).sum(0)
    expected = cubature.mass * len(samples)
    # Boxes in the order of their centres: neighbours are merged.
    order = (cubature.low[:, 0] + cubature.high[:, 0]).argsort()
    expected, counts = expected[order], counts[order]
    group = (expected.cumsum(0) / max(20.0, len(samples) / 200)).floor().long()
    groups = int(group.max()) + 1
    merged = torch.zeros(groups, dtype=torch.float64).index_add_(0, group, expected)
    seen = torch.zeros(groups, dtype=torch.float64).index_add_(0, group, counts)
    kept = merged > 5
    statistic = ((seen - merged).square() / merged)[kept].sum()
    freedom = max(int(kept.sum()) - 1, 1)
    # Samples that fall nowhere (not finite) must show: they add their own term.
    nowhere = len(samples) - float(counts.sum())
    statistic = statistic + nowhere**2
    p = torch.special.gammaincc(torch.tensor(freedom / 2, dtype=torch.float64), statistic / 2)
    return float(p), int(kept.sum())
