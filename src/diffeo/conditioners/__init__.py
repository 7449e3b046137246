"""Conditioners θ = m(x₁, c): the networks that steer laws."""

from diffeo.conditioners.cnn import CNN
from diffeo.conditioners.conditioner import Conditioner
from diffeo.conditioners.convolutional import ResidualCNN
from diffeo.conditioners.masked import MaskedMLP, MaskedResidualMLP
from diffeo.conditioners.mlp import MLP
from diffeo.conditioners.ordered import OrderedConditioner
from diffeo.conditioners.residual import ResidualMLP
from diffeo.conditioners.transformer import CausalTransformer, Transformer

__all__ = [
    "CNN",
    "MLP",
    "CausalTransformer",
    "Conditioner",
    "MaskedMLP",
    "MaskedResidualMLP",
    "OrderedConditioner",
    "ResidualCNN",
    "ResidualMLP",
    "Transformer",
]
