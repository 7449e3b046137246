"""MADE, MAF and IAF: autoregressive layers with an affine law."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import BatchNorm, Inverse
from diffeo.distributions import Base
from diffeo.errors import flag
from diffeo.flows.flow import Flow
from diffeo.flows.stacks import autoregressive, flow_of, masked
from diffeo.laws import Affine


def MADE(
    features: int,
    context: int = 0,
    *,
    hidden: Sequence[int] = (100, 100),
    activation: str = "relu",
    bound: float = 5.0,
    base: Base | None = None,
) -> Flow:
    """Masked autoencoder for distribution estimation, with normal conditionals.

    p(x) = Π_i N(x_i; μ_i(x_{<i}), σ_i(x_{<i})²): one autoregressive layer, from one masked network. Scoring
    takes one pass, sampling the arithmetic of one in D steps.

    Source: Germain, Gregor, Murray & Larochelle, *MADE: Masked autoencoder for distribution estimation*
    (2015); for real values, the settings of Papamakarios, Pavlakou & Murray (2017), section 4.1.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        hidden: hidden widths of the masked network.
        activation: its activation.
        bound: the largest log-scale (see :class:`diffeo.laws.Affine`).
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> MADE(3).log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """
    return MAF(
        features,
        context,
        transforms=1,
        hidden=hidden,
        activation=activation,
        bound=bound,
        batch_norm=False,
        base=base,
    )


def MAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    hidden: Sequence[int] = (100, 100),
    activation: str = "relu",
    bound: float = 3.0,
    batch_norm: bool = True,
    base: Base | None = None,
) -> Flow:
    """Masked autoregressive flow: a stack of MADEs, each on the noise of the one before.

    From data to noise, in each layer, z_i = (x_i − μ_i(x_{<i}, c)) / σ_i(x_{<i}, c); the order of the
    features is reversed from layer to layer. Scoring takes one pass a layer, sampling
    the arithmetic of one in D steps.

    Source: Papamakarios, Pavlakou & Murray, *Masked autoregressive flow for density estimation* (2017),
    section 3; MAF (5) of section 4.1, with batch normalisation between layers.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: autoregressive layers.
        hidden: hidden widths of each masked network.
        activation: its activation.
        bound: the largest log-scale of a layer (see :class:`diffeo.laws.Affine`).
        batch_norm: whether layers have batch normalisation between them.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> flow = MAF(3, context=2).eval()
    >>> flow.log_prob(torch.zeros(5, 3), torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    flag("batch_norm", batch_norm)
    layers = autoregressive(
        features,
        context,
        Affine(bound),
        transforms,
        masked(hidden, activation),
        (lambda: BatchNorm(features)) if batch_norm else None,
    )
    return flow_of(features, layers, base)


def IAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 4,
    hidden: Sequence[int] = (320, 320),
    activation: str = "elu",
    bound: float = 3.0,
    base: Base | None = None,
) -> Flow:
    """Inverse autoregressive flow: fast to sample, D steps a layer to score.

    From noise to data, in each layer, x_i = (z_i − μ_i(z_{<i}, c)) / σ_i(z_{<i}, c); the order of the
    features is reversed from layer to layer. Sampling, with its log p, takes one pass a layer: what
    variational inference needs. For maximum likelihood take :func:`MAF`.

    Source: Kingma, Salimans, Jozefowicz, Chen, Sutskever & Welling, *Improved variational inference with
    inverse autoregressive flow* (2016), algorithm 1; depth 4 and width 320 of section 6.1.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: autoregressive layers.
        hidden: hidden widths of each masked network.
        activation: its activation.
        bound: the largest log-scale of a layer (see :class:`diffeo.laws.Affine`).
        base: the base density, the standard normal if not given.

    >>> x, log_prob = IAF(3).sample_and_log_prob((5,))
    >>> x.shape, log_prob.shape
    (torch.Size([5, 3]), torch.Size([5]))
    """
    layers = autoregressive(features, context, Affine(bound), transforms, masked(hidden, activation))
    return flow_of(features, [Inverse(layer) for layer in layers], base)
