"""Flows p_θ: a base and a bijection; the published architectures by name."""

from diffeo.flows.flow import Flow, GivenFlow
from diffeo.flows.nice import NICE
from diffeo.flows.realnvp import RealNVP

__all__ = ["NICE", "Flow", "GivenFlow", "RealNVP"]
