"""Flow matching: the velocity of a continuous flow learned by regression, without solving anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffeo.bijections import Bijection, Continuous
from diffeo.bijections.chain import layers_of
from diffeo.errors import ConfigError, number
from diffeo.flows import Flow
from diffeo.kernels.shapes import safe_context
from diffeo.objectives.objective import Batch, Objective


@dataclass(frozen=True)
class FlowMatching(Objective):
    """L(θ) = E ‖v_θ(t, x_t, c) − (x₁ − (1 − σ) x₀)‖², x_t = (1 − (1 − σ) t) x₀ + t x₁, per row.

    x₁ is the data, x₀ a draw of the base, t uniform on [0, 1]. The minimiser is the mean velocity of all
    straight lines through (t, x_t), whose flow takes the base to the data (blurred by σ). Its value says
    little by itself, since the lines cross: it has an unknown floor far above 0. :func:`diffeo.fit`
    therefore measures held-out rows in nats, by solving the flow, and less often.

    The flow has one :class:`~diffeo.bijections.Continuous` layer. Layers nearer the data (``flow.then(
    Standardize(D))``) bring x back to where that layer ends, those nearer the noise bring x₀ to where it
    begins. Only its velocity is trained: they and the base get no gradient. Noise and times come from
    torch's generator, as dropout does; the times of a batch are spread evenly, each still uniform.

    Source: Lipman, Chen, Ben-Hamu, Nickel & Le, *Flow matching for generative modeling* (2023), equations
    20–23; with σ = 0, Liu, Gong & Liu, *Flow straight and fast* (2023), equation 1.

    Args:
        sigma: σ, the width of the path's end, in units of the base.

    Raises:
        ConfigError: σ is out of range; or, by ``loss``, the flow has no Continuous layer, or several.

    >>> from diffeo.bijections import Continuous
    >>> from diffeo.distributions import StandardNormal
    >>> flow = Flow(StandardNormal(2), Continuous(2, hidden=(8,)))
    >>> round(FlowMatching().loss(flow, Batch(torch.ones(9000, 2))).item())  # at v = 0, E ‖x₁ − x₀‖²
    4
    """

    sigma: float = 0.0

    unit: ClassVar[str] = "squared distance per row"

    #: A held-out density takes a hundred evaluations of v where a step takes one.
    evaluations_apart: ClassVar[int] = 250

    def __post_init__(self) -> None:
        number("sigma", self.sigma, least=0, below=1)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return the mean squared distance between the velocity and that of straight lines."""
        before, layer, after = _parts(flow)
        rows = len(batch.x)
        with torch.no_grad():
            end = batch.x
            for part in reversed(after):
                end, _ = part.inverse(end, batch.context)
            start = flow.base.sample((rows,), batch.context)
            for part in before:
                start, _ = part(start, batch.context)
            line = end - (1 - self.sigma) * start
            t = _times(rows).to(line).unsqueeze(-1)
            at = start + t * line
        context = safe_context(batch.context)[0] if layer.context_features else None
        return (layer.velocity(t, at, context) - line).square().sum(-1).mean()


def _times(rows: int) -> Tensor:
    """Return a time for each row, uniform on [0, 1): one in each of as many equal parts, in any order."""
    return (torch.randperm(rows) + torch.rand(rows)) / rows


def _parts(flow: Flow) -> tuple[list[Bijection], Continuous, list[Bijection]]:
    """Return the layers on the noise side of the Continuous layer, that layer, and those beyond it."""
    layers = [layer for _, layer in layers_of(flow.bijection)]
    places = [k for k, layer in enumerate(layers) if isinstance(layer, Continuous)]
    if len(places) != 1:
        raise ConfigError(
            f"flow has {len(places)} Continuous layers; expected one, since flow matching trains one "
            "velocity from the noise to the data: build diffeo.flows.FlowMatching(features), or train by "
            "MaximumLikelihood()."
        )
    layer = layers[places[0]]
    assert isinstance(layer, Continuous)
    return layers[: places[0]], layer, layers[places[0] + 1 :]
