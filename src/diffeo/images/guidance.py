"""Samples pushed towards their class: a flow with guided conditioners."""

from __future__ import annotations

from diffeo.bijections import Autoregressive, Bijection
from diffeo.bijections.chain import rebuilt
from diffeo.conditioners import Guided
from diffeo.errors import ConfigError, number
from diffeo.flows import Flow


def guided(flow: Flow, weight: float) -> Flow:
    """Return the flow whose autoregressive layers have θ = m(x, c) + w (m(x, c) − m(x, 0)).

    It shares the parameters of ``flow``. Its samples are more typical of their context and less varied; its
    ``log_prob`` is their density, exactly. A sample costs twice as much. w = 0 is the flow itself.

    Source: Zhai et al., *Normalizing flows are capable generative models* (2024), on guidance.

    Args:
        flow: one of autoregressive layers with a context, as :func:`diffeo.images.TarFlow`, learnt with
            some contexts left out (:class:`diffeo.images.NoisyLikelihood`).
        weight: w.

    Raises:
        ConfigError: the flow has no autoregressive layer with a context, or w is negative.

    >>> from diffeo.images import TarFlow
    >>> flow = TarFlow((1, 4, 4), 3, width=16, transforms=2, blocks=1, heads=2)
    >>> guided(flow, 1.0).context_features
    3
    """
    number("weight", weight, least=0)

    def change(layer: Bijection) -> Bijection:
        if not isinstance(layer, Autoregressive) or not layer.conditioner.context:
            return layer
        conditioner = Guided(layer.conditioner, weight)
        return Autoregressive(layer.law, conditioner, layer.inverse_method, layer.max_iter)

    bijection = rebuilt(flow.bijection, change)
    if bijection is flow.bijection:
        raise ConfigError(
            "flow has no autoregressive layer that reads a context; expected one, as "
            "diffeo.images.TarFlow(shape, context=10): guidance compares θ with and without its context."
        )
    return Flow(flow.base, bijection).train(flow.training)
