"""Images as events (C, H, W): the published flows, each ``f(shape, context=0, **settings)``."""

from diffeo.images.flows import GLOW_SETTINGS, REAL_NVP_SETTINGS, Glow, RealNVP

__all__ = ["GLOW_SETTINGS", "REAL_NVP_SETTINGS", "Glow", "RealNVP"]
