"""Recipes of flows of images."""

from __future__ import annotations

import torch

from diffeo.bijections import Chain, Flattened, Scale, Squeezed
from diffeo.distributions import ConditionalNormal, StandardNormal
from diffeo.flows import Flow
from diffeo.images import (
    NICE,
    Dequantisation,
    FlowPP,
    Glow,
    ImageModel,
    Jet,
    Pixels,
    RealNVP,
    TarFlow,
    guided,
)
from golden.material import Made, normal, ready


def image_nice() -> Made:
    """Return NICE of images."""
    x = normal(40, 1, 2, 2)
    return ready(NICE((1, 2, 2), hidden=(4,)), x), x, None


def image_real_nvp() -> Made:
    """Return Real NVP of images of two scales, of two classes."""
    x, given = normal(40, 1, 4, 4), torch.eye(2, dtype=torch.float64).repeat(20, 1)
    return ready(RealNVP((1, 4, 4), 2, width=2, blocks=1, couplings=1), x, given), x, given


def image_glow() -> Made:
    """Return Glow of images of two levels, with learnt priors."""
    x = normal(40, 1, 4, 4)
    return ready(Glow((1, 4, 4), levels=2, steps=1, width=4), x), x, None


def image_flow_pp() -> Made:
    """Return Flow++ of images."""
    x = normal(40, 1, 2, 2)
    flow = FlowPP((1, 2, 2), couplings=(1, 1, 1), components=2, width=8, blocks=1, heads=2)
    return ready(flow, x), x, None


def image_jet() -> Made:
    """Return Jet, of two classes."""
    x, given = normal(40, 1, 2, 4), torch.eye(2, dtype=torch.float64).repeat(20, 1)
    return ready(Jet((1, 2, 4), 2, patch=2, couplings=3, width=8, blocks=1, heads=2), x, given), x, given


def image_tar_flow() -> Made:
    """Return TarFlow, guided towards one of two classes."""
    x, given = normal(40, 1, 2, 4), torch.eye(2, dtype=torch.float64).repeat(20, 1)
    flow = TarFlow((1, 2, 4), 2, patch=2, width=8, transforms=2, blocks=1, heads=2)
    return guided(ready(flow, x, given), 0.5), x, given


def rearranged() -> Made:
    """Return a flow of vectors within a flow of squeezed images."""
    x = normal(40, 1, 2, 4)
    layers = Chain(Squeezed((1, 2, 4), Flattened((4, 1, 2), Scale(8))))
    return ready(Flow(StandardNormal((1, 2, 4)), layers), x), x, None


def image_model() -> Made:
    """Return a model of images of five levels, of two classes, with variational dequantisation."""
    layers = Chain(
        Scale((1, 2, 2)), Pixels((1, 2, 2), 5), Dequantisation((1, 2, 2), 5, 2, width=2, blocks=0)
    )
    cells = (2 + normal(40, 1, 2, 2)).floor().clamp(0, 4) + 0.25
    base = ConditionalNormal((1, 2, 2), 2, hidden=(4,))
    given = torch.eye(2, dtype=torch.float64).repeat(20, 1)
    flow = ready(Flow(base, layers), cells, given)
    return ImageModel(flow, 5, ("a", "b")), cells, given
