"""Objectives dist(p_D, p_θ): what training makes small."""

from diffeo.objectives.likelihood import MaximumLikelihood
from diffeo.objectives.objective import Batch, Objective

__all__ = ["Batch", "MaximumLikelihood", "Objective"]
