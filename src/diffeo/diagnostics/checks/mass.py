"""The mass of a flow is one: ∫ p(x) dx, by quadrature that knows nothing of the flow's inside."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from diffeo.diagnostics.checks.quadrature import Cubature, integrate
from diffeo.diagnostics.checks.subject import check
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow

#: The largest |∫p − 1| in one and in two dimensions.
LIMITS = {1: 1e-4, 2: 1e-3}

#: Evaluations of a quadrature for each draw that places its first boxes.
_EVALUATIONS = 12

#: A mass that is off by so many times the quadrature's doubt, and by a tenth, is wrong in spite of it.
_BEYOND_DOUBT, _GROSS = 10.0, 0.1


@check("mass", "A5")
def mass(
    flow: Flow,
    context: Tensor | None = None,
    *,
    limit: float | None = None,
    most: int = 1_500_000,
    seed: int = 0,
    cubature: Cubature | None = None,
) -> Figure:
    """Measure |∫ p(x | c) dx − 1| of a flow of one or two features, in float64.

    Limits 1e-4 (one feature) and 1e-3 (two). Each row of ``context`` (n, features) is a slice of its
    own; ``worst`` is the worst slice. The quadrature takes at most ``most`` evaluations a slice and
    estimates its own error: a slice where that stays above the limit, as for a density with folds finer
    than the quadrature can follow, is not judged, unless it is off by far more than that. Of one slice,
    ``cubature`` (see :func:`cells`) may be there already.

    >>> from diffeo.bijections import Scale
    >>> from diffeo.distributions import StandardNormal
    >>> mass(Flow(StandardNormal(1), Scale(1))).ok
    True
    """
    dim = flow.event_shape.numel()
    bound = LIMITS.get(dim, math.nan) if limit is None else limit
    name = f"mass − 1, {dim}-D quadrature" if dim <= 2 else "mass − 1"
    if dim > 2:
        detail = f"not computed: the flow has {dim} features, quadrature takes at most 2"
        return Figure(name, 0.0, 0.0, 0, 0, detail=detail, figure="A5")
    exact = copy.deepcopy(flow).double().eval()
    slices: list[Tensor | None] = [None]
    if context is not None:
        slices = list(context.detach().double().reshape(-1, context.shape[-1]))
    off: list[float] = []
    found: list[float] = []
    unresolved: list[Cubature] = []
    for row in slices:
        # At the edge of a support both rules may be off by the same; in one dimension more is cheap.
        tolerance = bound / (1000 if dim == 1 else 5)
        summed = cubature or cells(exact, row, tolerance=tolerance, most=most, seed=seed)
        apart = abs(summed.total - 1.0)
        if summed.doubt > bound and apart <= max(_GROSS, _BEYOND_DOUBT * summed.doubt):
            unresolved.append(summed)
        else:
            off.append(apart)
            found.append(summed.total)
    failed = sum(not error <= bound for error in off)
    notes: list[str] = []
    if off:
        notes.append(f"∫p = {found[off.index(max(off))]:.6f}")
    if unresolved:
        rough = unresolved[0]
        notes.append(
            f"{len(unresolved)} of {len(slices)} too finely folded for the quadrature "
            f"(∫p ≈ {rough.total:.3f} ± {rough.doubt:.1g})"
        )
    return Figure(
        name,
        worst=max(off, default=0.0),
        limit=bound,
        tested=len(off),
        failed=failed,
        detail="; ".join(notes),
        figure="A5",
    )


@torch.no_grad()
def cells(flow: Flow, context: Tensor | None, *, tolerance: float, most: int, seed: int) -> Cubature:
    """Return the quadrature of p(· | context) of a float64 flow of one or two features.

    A density on a circle that answers for raw angles too is one over one turn: over the flow's support.
    The boxes that draws begin with must leave most of the evaluations to where the sum is in doubt, so that
    fewer evaluations are placed by fewer draws.
    """
    generator = torch.Generator(flow.base.device).manual_seed(seed)
    count = min(4096, most // _EVALUATIONS)
    draws = flow.sample((count,), context, generator=generator).reshape(count, -1)

    turn = flow.bijection.codomain if flow.bijection.circles[1] is not None else None

    def log_density(points: Tensor) -> Tensor:
        found = flow.log_prob(points.reshape(-1, *flow.event_shape), context)
        return found if turn is None else torch.where(turn.check(points).all(-1), found, -torch.inf)

    return integrate(log_density, draws, tolerance=tolerance, most=most)
