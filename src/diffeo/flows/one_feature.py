"""What a vector flow is built for: a number of features, no shape; of one, never silently a single bell."""

from __future__ import annotations

import warnings

from diffeo.errors import ConfigError, at_least


def check_features(name: str, features: object) -> None:
    """Raise :class:`ConfigError` unless ``features`` is a number of them; of a shape, say where it goes.

    >>> check_features("Glow", (3, 32, 32))
    Traceback (most recent call last):
    diffeo.errors.ConfigError: features=(3, 32, 32) is a shape; expected a number of features. For images of
    (channels, height, width) call diffeo.images.Glow((3, 32, 32)).
    """
    if isinstance(features, list | tuple):
        raise ConfigError(
            f"features={features!r:.80} is a shape; expected a number of features. For images of "
            f"(channels, height, width) call diffeo.images.{name}({features!r:.80})."
        )
    at_least("features", features, 1)


def warn_one_feature(name: str, family: str) -> None:
    """Warn that ``name`` on one feature has nothing to condition on, so that its shape is fixed."""
    warnings.warn(
        f"{name} on features=1 has nothing to condition on: without context it can only be a {family} "
        "density with learnable location and scale.",
        UserWarning,
        stacklevel=3,
    )
