"""Conditioners θ = m(x₁, c): the networks that steer laws."""

from diffeo.conditioners.conditioner import Conditioner
from diffeo.conditioners.masked import MaskedMLP, MaskedResidualMLP
from diffeo.conditioners.mlp import MLP
from diffeo.conditioners.ordered import OrderedConditioner
from diffeo.conditioners.residual import ResidualMLP

__all__ = [
    "MLP",
    "Conditioner",
    "MaskedMLP",
    "MaskedResidualMLP",
    "OrderedConditioner",
    "ResidualMLP",
]
