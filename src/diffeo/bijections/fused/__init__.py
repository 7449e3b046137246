"""The layers that most flows are made of, in few passes over memory."""

from diffeo.bijections.fused.launched import Launched, launched
from diffeo.bijections.fused.layer import Fused, Step, step_of
from diffeo.bijections.fused.recovered import SPAN
from diffeo.bijections.fused.sink import Sink

__all__ = ["SPAN", "Fused", "Launched", "Sink", "Step", "launched", "step_of"]
