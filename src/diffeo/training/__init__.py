"""Training θ* = argmin dist(p_D, p_θ): the loop, its guard, its checkpoints."""

from diffeo.training.config import TrainConfig
from diffeo.training.loop import fit
from diffeo.training.result import BadStep, Evaluation, FitResult

__all__ = ["BadStep", "Evaluation", "FitResult", "TrainConfig", "fit"]
