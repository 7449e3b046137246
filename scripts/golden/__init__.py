"""Recipes of golden files: a module for each folder of parts; a recipe's name is that of its file."""

from __future__ import annotations

from collections.abc import Callable

from golden import bases, bijections, conditioners, foundation, friends, images, laws, mixed, mixtures
from golden.material import Made

RECIPES: dict[str, Callable[[], Made]] = {
    recipe.__name__: recipe
    for recipe in (
        foundation.nice,
        foundation.real_nvp,
        foundation.vectors,
        foundation.images,
        foundation.wrapped,
        foundation.box,
        foundation.splines,
        foundation.table,
        mixtures.members,
        mixtures.joint,
        laws.searched,
        laws.tails,
        laws.polynomials,
        conditioners.masked,
        conditioners.attention,
        conditioners.convolutional,
        bijections.linear,
        bijections.pointwise,
        bijections.bounded,
        bijections.marginals,
        bijections.sides,
        bijections.residual,
        bijections.scales,
        bijections.torus,
        bijections.continuous,
        bases.full_normal,
        bases.full_mixture,
        bases.student,
        bases.mixture,
        bases.circular,
        bases.resampled,
        bases.conditional,
        bases.mixed_rows,
        mixed.mixed,
        friends.gaussian,
        friends.gaussian_mixture,
        friends.kernel_density,
        friends.gaussian_copula,
        friends.vae,
        friends.vae_images,
        friends.gan,
        images.image_nice,
        images.image_flow_pp,
        images.image_jet,
        images.image_tar_flow,
        images.image_real_nvp,
        images.image_glow,
        images.rearranged,
        images.image_model,
    )
}
