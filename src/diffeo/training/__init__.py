"""Training θ* = argmin dist(p_D, p_θ): the loop, its guard, its checkpoints."""

from diffeo.training.config import TrainConfig
from diffeo.training.loop import fit
from diffeo.training.own import accelerate
from diffeo.training.result import BadStep, Evaluation, FitResult
from diffeo.training.target import fit_target
from diffeo.training.target_result import TargetResult

__all__ = [
    "BadStep",
    "Evaluation",
    "FitResult",
    "TargetResult",
    "TrainConfig",
    "accelerate",
    "fit",
    "fit_target",
]
