"""Images as events (C, H, W): read as whole levels, their density in bits per dimension, flows."""

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
from diffeo.images.model import (
    FLOWS,
    Dequantisation,
    Dequantised,
    ImageModel,
    Pixels,
    bits_per_dim,
    image_model,
    nats_in_unit,
    with_noise,
)
from diffeo.images.noise import NoisyLikelihood, denoised
from diffeo.images.pictures import grid, save_picture

__all__ = [
    "FLOWS",
    "GLOW_SETTINGS",
    "NICE",
    "NICE_SETTINGS",
    "REAL_NVP_SETTINGS",
    "Dequantisation",
    "Dequantised",
    "FlowPP",
    "Glow",
    "ImageModel",
    "Images",
    "Jet",
    "NoisyLikelihood",
    "Pixels",
    "RealNVP",
    "TarFlow",
    "bits_per_dim",
    "denoised",
    "download",
    "grid",
    "guided",
    "image_model",
    "nats_in_unit",
    "read",
    "save_picture",
    "with_noise",
]
