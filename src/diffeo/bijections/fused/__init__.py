"""The layers that most flows are made of, in few passes over memory."""

from diffeo.bijections.fused.layer import Fused, Step, step_of
from diffeo.bijections.fused.network import listened_to

__all__ = ["Fused", "Step", "listened_to", "step_of"]
