"""The objective of a flow that is not told one."""

from __future__ import annotations

from diffeo.bijections import Continuous
from diffeo.flows import Flow
from diffeo.objectives.likelihood import MaximumLikelihood
from diffeo.objectives.matching import FlowMatching
from diffeo.objectives.objective import Objective


def objective_for(flow: Flow) -> Objective:
    """Return what :func:`diffeo.fit` minimises by default.

    :class:`FlowMatching` for a flow with a :class:`~diffeo.bijections.Continuous` layer that is
    ``trained_by="matching"``, :class:`MaximumLikelihood` for any other.

    >>> from diffeo import flows
    >>> objective_for(flows.FlowMatching(2)), objective_for(flows.RealNVP(2))
    (FlowMatching(sigma=0.0), MaximumLikelihood())
    """
    matched = (isinstance(m, Continuous) and m.trained_by == "matching" for m in flow.bijection.modules())
    return FlowMatching() if any(matched) else MaximumLikelihood()
