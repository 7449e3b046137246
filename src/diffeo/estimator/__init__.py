"""The density of any table: members that are chosen by held-out data, and their exact mixture."""

from diffeo.estimator.continuous import ContinuousDensity
from diffeo.estimator.members import Members

__all__ = ["ContinuousDensity", "Members"]
