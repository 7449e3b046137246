"""The layers that most flows are made of, in few passes over memory."""

from diffeo.bijections.fused.layer import Fused, Step, step_of

__all__ = ["Fused", "Step", "step_of"]
