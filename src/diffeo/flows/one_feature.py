"""Coupling flows of one feature: never silently a single bell."""

from __future__ import annotations

import warnings


def warn_one_feature(name: str, family: str) -> None:
    """Warn that ``name`` on one feature has nothing to condition on, so that its shape is fixed."""
    warnings.warn(
        f"{name} on features=1 has nothing to condition on: without context it can only be a {family} "
        "density with learnable location and scale.",
        UserWarning,
        stacklevel=3,
    )
