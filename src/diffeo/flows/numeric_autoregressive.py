"""NAF, UNAF, SOSPF and BPF: autoregressive layers with laws whose inverse is searched for."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.distributions import Base
from diffeo.flows.flow import Flow
from diffeo.flows.stacks import autoregressive, flow_of, masked
from diffeo.laws import Bernstein, Inverted, Law, MonotonicIntegral, SigmoidalFlow, SumOfSquares


def NAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    units: int = 16,
    hidden: Sequence[int] = (100, 100),
    activation: str = "elu",
    base: Base | None = None,
) -> Flow:
    """Neural autoregressive flow with deep sigmoidal layers (DSF).

    From data to noise, in each layer, z_i = logit Σ_k w_k σ(a_k x_i + b_k), with w, a, b made of x_{<i}
    and c by a masked network. Scoring takes one pass a layer; sampling D searches of a bracketed root,
    which are exact to a rounding. A layer is that curve for x_i in [−30, 30], and straight beyond.

    Source: Huang, Krueger, Lacoste & Courville, *Neural autoregressive flows* (2018), section 3.2, equation
    8; 5 flows as in section 6.2.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: autoregressive layers.
        units: K, sigmoid units of a feature (see :class:`diffeo.laws.SigmoidalFlow`).
        hidden: hidden widths of each masked network.
        activation: its activation.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> NAF(2).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    return _stack(features, context, SigmoidalFlow(units), transforms, hidden, activation, base)


def UNAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    units: int = 8,
    bound: float = 5.0,
    hidden: Sequence[int] = (100, 100, 100),
    activation: str = "relu",
    base: Base | None = None,
) -> Flow:
    """Unconstrained neural autoregressive flow (UMNN-MAF): each feature through the integral of a network.

    From data to noise, in each layer, z_i = c_i + ∫₀^{x_i} exp(n_i(t)) dt, where all weights of the
    network n_i are made of x_{<i} and c by a masked network. Scoring takes one pass a layer and 64
    evaluations of n; sampling D searches of a bracketed root.

    Source: Wehenkel & Louppe, *Unconstrained monotonic neural networks* (2019), equations 1 and 5; 5
    flows as in section 5.2. They share n's weights between rows; here each row has its own.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: autoregressive layers.
        units: hidden units of n (see :class:`diffeo.laws.MonotonicIntegral`).
        bound: half the width of the box beyond which a layer is straight.
        hidden: hidden widths of each masked network.
        activation: its activation.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> UNAF(2, transforms=1).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    law = MonotonicIntegral(units, bound)
    return _stack(features, context, law, transforms, hidden, activation, base)


def SOSPF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 8,
    polynomials: int = 5,
    degree: int = 4,
    hidden: Sequence[int] = (200, 200),
    activation: str = "relu",
    base: Base | None = None,
) -> Flow:
    """Sum-of-squares polynomial flow.

    From data to noise, in each layer, z_i is the integral of a sum of squared polynomials of x_i, whose
    coefficients are made of x_{<i} and c by a masked network. Scoring takes one pass a layer; sampling D
    searches of a bracketed root. A layer is that polynomial for x_i in [−5, 5], and straight beyond: bring
    columns near unit scale (:class:`diffeo.bijections.Standardize`).

    Source: Jaini, Selby & Yu, *Sum-of-squares polynomial flow* (2019), equations 9–11 and section 5.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: autoregressive layers.
        polynomials: K (see :class:`diffeo.laws.SumOfSquares`).
        degree: L.
        hidden: hidden widths of each masked network.
        activation: its activation.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> SOSPF(2, transforms=2).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    law = SumOfSquares(polynomials, degree)
    return _stack(features, context, law, transforms, hidden, activation, base)


def BPF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 1,
    degree: int = 16,
    tails: str = "matching",
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    base: Base | None = None,
) -> Flow:
    """Bernstein polynomial flow.

    From data to noise z_i = Σ_j β_j b_{j,M}(x_i), an increasing Bernstein polynomial whose coefficients
    are made of x_{<i} and c by a masked network. Scoring takes one pass a layer; sampling D searches of a
    bracketed root. A layer is that polynomial for x_i in [−5, 5], and straight beyond: bring columns near
    unit scale (:class:`diffeo.bijections.Standardize`).

    Source: Ramasinghe, Fernando, Khan & Barnes, *Robust normalizing flows using Bernstein-type polynomials*
    (2021), equation 5.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: autoregressive layers; the polynomial of one is universal.
        degree: M (see :class:`diffeo.laws.Bernstein`).
        tails: "matching" or "linear".
        hidden: hidden widths of each masked network.
        activation: its activation.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> BPF(2).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    law = Bernstein(degree, tails=tails)
    return _stack(features, context, law, transforms, hidden, activation, base)


def _stack(
    features: int,
    context: int,
    law: Law,
    transforms: int,
    hidden: Sequence[int],
    activation: str,
    base: Base | None,
) -> Flow:
    """Return layers that score by the law's formula and sample by its search."""
    layers = autoregressive(features, context, Inverted(law), transforms, masked(hidden, activation))
    return flow_of(features, layers, base)
