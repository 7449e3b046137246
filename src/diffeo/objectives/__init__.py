"""Objectives dist(p_D, p_θ): what training makes small."""

from diffeo.objectives.adversarial import Adversarial
from diffeo.objectives.choice import objective_for
from diffeo.objectives.discrepancy import MMD
from diffeo.objectives.energy import EnergyDistance
from diffeo.objectives.likelihood import MaximumLikelihood
from diffeo.objectives.matching import FlowMatching
from diffeo.objectives.objective import Batch, Objective
from diffeo.objectives.renyi import ImportanceWeighted, Renyi
from diffeo.objectives.reverse import ReverseKL
from diffeo.objectives.schedules import Ramp
from diffeo.objectives.score import ScoreMatching
from diffeo.objectives.target import LogDensity
from diffeo.objectives.wasserstein import SlicedWasserstein
from diffeo.objectives.weighted import Weighted

__all__ = [
    "MMD",
    "Adversarial",
    "Batch",
    "EnergyDistance",
    "FlowMatching",
    "ImportanceWeighted",
    "LogDensity",
    "MaximumLikelihood",
    "Objective",
    "Ramp",
    "Renyi",
    "ReverseKL",
    "ScoreMatching",
    "SlicedWasserstein",
    "Weighted",
    "objective_for",
]
