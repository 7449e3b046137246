"""Flows p_θ: a base and a bijection; the published architectures by name."""

from diffeo.flows.affine_autoregressive import IAF, MADE, MAF
from diffeo.flows.continuous import CNF, FFJORD, FlowMatching
from diffeo.flows.flow import Flow
from diffeo.flows.gaussianization import GF
from diffeo.flows.given import GivenFlow
from diffeo.flows.glow import FlowPP, Glow
from diffeo.flows.nice import NICE
from diffeo.flows.numeric_autoregressive import BPF, NAF, SOSPF, UNAF
from diffeo.flows.realnvp import RealNVP
from diffeo.flows.residual import BNAF, ResidualFlow
from diffeo.flows.spline import NCSF, NSF
from diffeo.flows.tails import TTF
from diffeo.flows.variational import Planar, Radial, Sylvester

__all__ = [
    "BNAF",
    "BPF",
    "CNF",
    "FFJORD",
    "GF",
    "IAF",
    "MADE",
    "MAF",
    "NAF",
    "NCSF",
    "NICE",
    "NSF",
    "SOSPF",
    "TTF",
    "UNAF",
    "Flow",
    "FlowMatching",
    "FlowPP",
    "GivenFlow",
    "Glow",
    "Planar",
    "Radial",
    "RealNVP",
    "ResidualFlow",
    "Sylvester",
]
