"""The density of images of whole levels: noise below the levels, bits per dimension, the model, its fit."""

from diffeo.images.model.bits import bits_per_dim, nats_in_unit
from diffeo.images.model.build import FLOWS, image_model
from diffeo.images.model.cells import Dequantised, with_noise
from diffeo.images.model.density import ImageModel
from diffeo.images.model.dequantisation import Dequantisation
from diffeo.images.model.pixels import Pixels

__all__ = [
    "FLOWS",
    "Dequantisation",
    "Dequantised",
    "ImageModel",
    "Pixels",
    "bits_per_dim",
    "image_model",
    "nats_in_unit",
    "with_noise",
]
