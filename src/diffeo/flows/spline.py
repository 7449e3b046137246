"""Neural spline flows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from diffeo.bijections import Bijection, CircularShift
from diffeo.distributions import Base, Uniform
from diffeo.errors import at_least, one_of
from diffeo.flows.flow import Flow
from diffeo.flows.stacks import autoregressive, couplings, flow_of, masked, perceptrons
from diffeo.laws import CircularSpline, Inverted, RationalQuadratic


def NSF(
    features: int,
    context: int = 0,
    *,
    transforms: int | None = None,
    structure: str = "autoregressive",
    bins: int = 32,
    bound: float = 3.0,
    hidden: Sequence[int] = (64, 64, 64, 64),
    activation: str = "silu",
    tails: str = "matching",
    base: Base | None = None,
) -> Flow:
    """Neural spline flow: rational-quadratic splines, autoregressive (RQ-NSF (AR)) or in couplings (C).

    From data to noise, each feature goes through a monotone spline whose knots are made of the features
    before it (or of those that the coupling passes) and of c: scoring takes the spline's formula, sampling
    its root. Autoregressive layers score in one pass and sample in D steps; couplings
    take one pass both ways. Beyond ±``bound`` splines are straight: standardise the data
    (:class:`diffeo.bijections.Standardize`), or fit the box to them with its method "range", as below.

    Source: Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows* (2019), sections 3 and 4. B = 3
    is theirs. As for their densities on the plane, few layers have splines of many bins (there 2 of 128);
    for tables of dozens of columns they take 10 layers of 8 bins, steered by two residual blocks of 256
    units each.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: autoregressive layers, or couplings; None for 2 and 6.
        structure: "autoregressive" or "coupling".
        bins: K (see :class:`diffeo.laws.RationalQuadratic`).
        bound: half the width of the box.
        hidden: hidden widths of each conditioner.
        activation: its activation.
        tails: "matching" or "linear" (as published).
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> NSF(3, structure="coupling").sample((5,)).shape
    torch.Size([5, 3])

    A box that is the range of the training rows, for data that have one:

    >>> from diffeo.bijections import Standardize
    >>> x = torch.tensor([1.0, 100.0]) * torch.rand(500, 2)
    >>> flow = NSF(2, bound=3.0).then(Standardize(2, "range", bound=3.0)).initialise(x)
    >>> z, _ = flow.bijection.bijections[-1].inverse(x)  # what reaches the splines
    >>> bool((z.abs() < 3.0).all())
    True
    """
    one_of("structure", structure, ("autoregressive", "coupling"))
    law = Inverted(RationalQuadratic(bins, bound, tails))
    if structure == "autoregressive":
        count = 2 if transforms is None else transforms
        layers = autoregressive(features, context, law, count, masked(hidden, activation))
        return flow_of(features, layers, base)
    count = 6 if transforms is None else transforms
    layers = couplings(features, context, law, count, perceptrons(hidden, activation))
    return flow_of(features, layers, base)


def NCSF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 3,
    structure: str = "autoregressive",
    bins: int = 8,
    hidden: Sequence[int] = (64, 64),
    activation: str = "silu",
    base: Base | None = None,
) -> Flow:
    """Neural circular spline flow: a density of angles, on the circle or on the torus.

    Each feature is an angle in [−π, π] and goes through monotone splines of the circle, whose knots are
    made of the cosines and sines of the angles before it and of c: where the circle closes, so does the
    density. Between two splines every angle is rotated by a learnable φ, half a turn at the start, so that
    no point is kept fixed by all of them. Untrained, its density is the uniform one. Autoregressive layers
    score in one pass and sample in D steps; couplings take one pass both ways.

    A value outside [−π, π] has density zero. ``NCSF(…).then(Wrap(low=0, high=360))`` reads raw angles in
    degrees, with its density per degree (:class:`diffeo.bijections.Wrap`).

    Source: Rezende, Papamakarios, Racanière, Albergo, Kanwar, Shanahan & Cranmer, *Normalizing flows on
    tori and spheres* (2020), sections 2.1 and 2.2. Depth and width are sized for tables of a few columns.

    Args:
        features: the number of angles D.
        context: features of the context, 0 for none.
        transforms: autoregressive layers, or couplings.
        structure: "autoregressive" or "coupling".
        bins: K (see :class:`diffeo.laws.CircularSpline`).
        hidden: hidden widths of each conditioner.
        activation: its activation.
        base: the base density, the uniform one on [−π, π]ᴰ if not given;
            :class:`diffeo.distributions.VonMises` is another.

    >>> import torch
    >>> NCSF(2).log_prob(torch.tensor([[0.0, 3.0], [0.0, 4.0]])).tolist()  # −2 log 2π, and outside
    [-3.675..., -inf]
    """
    one_of("structure", structure, ("autoregressive", "coupling"))
    at_least("features", features, 1)
    law = Inverted(CircularSpline(bins))

    def rotation(k: int = 0) -> Bijection:
        return CircularShift(features, start=math.pi)

    if structure == "autoregressive":
        make = masked(hidden, activation, law.period)
        layers = autoregressive(features, context, law, transforms, make, rotation)
    else:
        networks = perceptrons(hidden, activation, law.period)
        layers = couplings(features, context, law, transforms, networks, between=rotation)
    if base is None:
        base = Uniform(features, low=-math.pi, high=math.pi)
    return flow_of(features, layers, base)
