"""Variational autoencoders: a latent variable model, and a bound of its density."""

from diffeo.friends.vae.model import VAE

__all__ = ["VAE"]
