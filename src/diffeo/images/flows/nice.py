"""NICE of images: additive couplings of all pixels as one vector, in the four published configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffeo import flows
from diffeo.bijections import Flattened
from diffeo.distributions import Base, StandardLogistic, StandardNormal
from diffeo.errors import one_of
from diffeo.flows import Flow
from diffeo.images.flows.scales import image_shape

#: Published settings, table 1: ``NICE((3, 32, 32), **NICE_SETTINGS["cifar10"])``. The authors whiten TFD
#: (approximately), SVHN and CIFAR-10 (by ZCA) beforehand, MNIST not.
NICE_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "mnist": {"hidden": (1000,) * 5, "prior": "logistic"},
    "tfd": {"hidden": (5000,) * 4, "prior": "gaussian"},
    "svhn": {"hidden": (2000,) * 4, "prior": "logistic"},
    "cifar10": {"hidden": (2000,) * 4, "prior": "logistic"},
}


def NICE(
    shape: Sequence[int],
    context: int = 0,
    *,
    couplings: int = 4,
    hidden: Sequence[int] = (1000,) * 5,
    activation: str = "relu",
    mask: str = "alternating",
    prior: str = "logistic",
    base: Base | None = None,
) -> Flow:
    """NICE of images, as published: all pixels are one vector, odd ones move even ones and back.

    From data to noise: in each coupling h_{I₂} ← h_{I₂} + m(h_{I₁}), the two parts exchanging roles, m a
    perceptron; then z = exp(s) ⊙ h. Each coupling preserves volume: the diagonal alone changes it. Both
    directions cost one pass. The authors' data are in [0, 1] (CIFAR-10: [−1, 1]), dequantised.

    Source: Dinh, Krueger & Bengio, *NICE: Non-linear Independent Components Estimation* (2014), sections 3
    and 5.1; defaults are those of MNIST. ``NICE_SETTINGS`` has those of TFD, SVHN and CIFAR-10.

    Args:
        shape: (C, H, W); a pixel's index is that of (c, h, w) with w running fastest.
        context: features of the context, 0 for none; a class goes in as one-hot.
        couplings: additive couplings (at least 3 let every pixel influence every other).
        hidden: hidden widths of each perceptron.
        activation: its activation.
        mask: "alternating" (odd/even, as published) or "halves".
        prior: "logistic" or "gaussian".
        base: another base density, in the place of the prior.

    >>> import torch
    >>> flow = NICE((1, 2, 2), hidden=(32,))
    >>> flow.log_prob(torch.zeros(1, 2, 2))  # 4 log ¼: untrained, it is its base
    tensor(-5.5452, grad_fn=...)
    """
    one_of("prior", prior, ("logistic", "gaussian"))
    sizes = image_shape(shape)
    count = sizes[0] * sizes[1] * sizes[2]
    vectors = flows.NICE(
        count, context, couplings=couplings, hidden=hidden, activation=activation, mask=mask
    )
    if base is None:
        base = StandardLogistic(sizes) if prior == "logistic" else StandardNormal(sizes)
    return Flow(base, Flattened(sizes, vectors.bijection))
