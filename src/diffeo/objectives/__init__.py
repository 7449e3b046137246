"""Objectives dist(p_D, p_θ): what training makes small."""

from diffeo.objectives.choice import objective_for
from diffeo.objectives.likelihood import MaximumLikelihood
from diffeo.objectives.matching import FlowMatching
from diffeo.objectives.objective import Batch, Objective

__all__ = ["Batch", "FlowMatching", "MaximumLikelihood", "Objective", "objective_for"]
