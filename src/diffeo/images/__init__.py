"""Images as events (C, H, W): read as whole levels; and the published flows, ``f(shape, context=0, …)``."""

from diffeo.images.data import Images, download, read
from diffeo.images.flows import GLOW_SETTINGS, NICE, NICE_SETTINGS, REAL_NVP_SETTINGS, Glow, RealNVP

__all__ = [
    "GLOW_SETTINGS",
    "NICE",
    "NICE_SETTINGS",
    "REAL_NVP_SETTINGS",
    "Glow",
    "Images",
    "RealNVP",
    "download",
    "read",
]
