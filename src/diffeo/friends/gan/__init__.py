"""Generative adversarial networks: samples without a density."""

from diffeo.friends.gan.model import GAN

__all__ = ["GAN"]
