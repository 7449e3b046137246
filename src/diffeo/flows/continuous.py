"""Flows in continuous time: dx/dt = v(t, x, c), trained by likelihood or by matching velocities."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import Bijection, Chain, Continuous
from diffeo.distributions import Base, StandardNormal
from diffeo.errors import at_least
from diffeo.flows.flow import Flow


def CNF(
    features: int,
    context: int = 0,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: str = "tanh",
    solver: str = "dopri5",
    steps: int = 32,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    base: Base | None = None,
) -> Flow:
    """Continuous normalizing flow, with the exact trace: log p(x) = log π(x(0)) − ∫₀¹ tr ∂v/∂x dt.

    Both log_prob and sampling take one solve, of D Jacobian-vector products an evaluation of v;
    ``flow.bijection.inverse_with_info(x)`` and ``forward_with_info(z)`` tell how many evaluations each row
    took. With ``rtol=1e-5`` densities are right to about that; ask for less where it matters.

    Source: Chen, Rubanova, Bettencourt & Duvenaud, *Neural ordinary differential equations* (2018),
    theorem 1 and section 4. Their v is a sum of planar maps gated by time; this one is the network of
    FFJORD, with 64 hidden units as theirs.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        hidden: hidden widths of v.
        activation: of v: "tanh", "softplus" or "silu".
        solver: "dopri5" (adaptive) or "rk4" (``steps`` equal steps, whose error is not known).
        steps: of "rk4".
        rtol: relative tolerance of a step of "dopri5".
        atol: absolute tolerance of a step of "dopri5".
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> flow = CNF(2)
    >>> flow.log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    >>> flow.bijection.inverse_with_info(torch.zeros(5, 2))[2].evaluations.tolist()
    [8, 8, 8, 8, 8]
    """
    layer = Continuous(
        features,
        hidden,
        context,
        solver=solver,
        steps=steps,
        rtol=rtol,
        atol=atol,
        activation=activation,
    )
    return Flow(_normal(features, base), layer)


def FFJORD(
    features: int,
    context: int = 0,
    *,
    hidden: Sequence[int] = (64, 64, 64),
    blocks: int = 1,
    activation: str = "tanh",
    trace: str = "hutchinson",
    solver: str = "dopri5",
    steps: int = 32,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    base: Base | None = None,
) -> Flow:
    """FFJORD: a continuous flow trained on Hutchinson's estimate of the trace, tr J ≈ eᵀ J e.

    In training an evaluation of v takes one Jacobian-vector product, whatever D is; in evaluation the trace
    is exact, and takes D. With one block, ``flow.bijection.inverse_with_info(x)`` and
    ``forward_with_info(z)`` tell how many evaluations of v each row took.

    Source: Grathwohl, Chen, Bettencourt, Sutskever & Duvenaud, *FFJORD: free-form continuous dynamics for
    scalable reversible generative models* (2019), equation 8 and algorithm 1. The defaults are sized for
    tables of a few columns; their e is Gaussian unless they ask for signs, which have the smaller variance.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        hidden: hidden widths of v.
        blocks: continuous layers, one after the other.
        activation: of v: "tanh", "softplus" or "silu".
        trace: "hutchinson" or "exact", in training.
        solver: "dopri5" (adaptive) or "rk4" (``steps`` equal steps, whose error is not known).
        steps: of "rk4".
        rtol: relative tolerance of a step of "dopri5".
        atol: absolute tolerance of a step of "dopri5".
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> FFJORD(2).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    at_least("blocks", blocks, 1)
    layers: list[Bijection] = []
    for _ in range(blocks):
        layer = Continuous(
            features,
            hidden,
            context,
            solver=solver,
            steps=steps,
            rtol=rtol,
            atol=atol,
            trace=trace,
            activation=activation,
        )
        layers.append(layer)
    return Flow(_normal(features, base), layers[0] if blocks == 1 else Chain(*layers))


def FlowMatching(
    features: int,
    context: int = 0,
    *,
    hidden: Sequence[int] = (128, 128, 128),
    activation: str = "silu",
    solver: str = "dopri5",
    steps: int = 32,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    base: Base | None = None,
) -> Flow:
    """Continuous flow whose velocity is learned by regression on straight lines from noise to data.

    :func:`diffeo.fit` does so by itself. A step of training solves nothing
    (:class:`diffeo.objectives.FlowMatching`); log_prob and sampling take one solve each, with the exact
    trace, and ``sample_and_log_prob`` one for both. ``flow.bijection.inverse_with_info(x)`` and
    ``forward_with_info(z)`` tell how many evaluations of v each row took.

    Source: Lipman, Chen, Ben-Hamu, Nickel & Le, *Flow matching for generative modeling* (2023), equations
    20–23; Liu, Gong & Liu, *Flow straight and fast* (2023). Their networks on the plane are wider, five
    layers of 512 units; three of 128 are enough for a first look.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        hidden: hidden widths of v.
        activation: of v: "tanh", "softplus" or "silu".
        solver: "dopri5" (adaptive) or "rk4" (``steps`` equal steps, whose error is not known).
        steps: of "rk4".
        rtol: relative tolerance of a step of "dopri5".
        atol: absolute tolerance of a step of "dopri5".
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> FlowMatching(2).sample((5,)).shape
    torch.Size([5, 2])
    """
    layer = Continuous(
        features,
        hidden,
        context,
        solver=solver,
        steps=steps,
        rtol=rtol,
        atol=atol,
        activation=activation,
        trained_by="matching",
    )
    return Flow(_normal(features, base), layer)


def _normal(features: int, base: Base | None) -> Base:
    return StandardNormal(features) if base is None else base
