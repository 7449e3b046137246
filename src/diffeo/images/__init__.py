"""Images as events (C, H, W): read as whole levels; and the published flows, ``f(shape, context=0, …)``."""

from diffeo.images.data import Images, download, read
from diffeo.images.flows import (
    GLOW_SETTINGS,
    NICE,
    NICE_SETTINGS,
    REAL_NVP_SETTINGS,
    FlowPP,
    Glow,
    Jet,
    RealNVP,
    TarFlow,
)
from diffeo.images.guidance import guided
from diffeo.images.noise import NoisyLikelihood, denoised

__all__ = [
    "GLOW_SETTINGS",
    "NICE",
    "NICE_SETTINGS",
    "REAL_NVP_SETTINGS",
    "FlowPP",
    "Glow",
    "Images",
    "Jet",
    "NoisyLikelihood",
    "RealNVP",
    "TarFlow",
    "denoised",
    "download",
    "guided",
    "read",
]
