"""The image flows as published, each ``f(shape, context=0, **settings)`` of a shape (C, H, W)."""

from diffeo.images.flows.flowpp import FlowPP
from diffeo.images.flows.glow import GLOW_SETTINGS, Glow
from diffeo.images.flows.jet import Jet
from diffeo.images.flows.nice import NICE, NICE_SETTINGS
from diffeo.images.flows.realnvp import REAL_NVP_SETTINGS, RealNVP
from diffeo.images.flows.tarflow import TarFlow

__all__ = [
    "GLOW_SETTINGS",
    "NICE",
    "NICE_SETTINGS",
    "REAL_NVP_SETTINGS",
    "FlowPP",
    "Glow",
    "Jet",
    "RealNVP",
    "TarFlow",
]
