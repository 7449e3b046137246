"""Conditioners θ = m(x₁, c): the networks that steer laws."""

from diffeo.conditioners.cnn import CNN
from diffeo.conditioners.conditioner import Conditioner
from diffeo.conditioners.convolutional import ResidualCNN
from diffeo.conditioners.gated import GatedCNN
from diffeo.conditioners.guided import Guided
from diffeo.conditioners.masked import MaskedMLP, MaskedResidualMLP
from diffeo.conditioners.mlp import MLP
from diffeo.conditioners.ordered import OrderedConditioner
from diffeo.conditioners.patches import PatchTransformer
from diffeo.conditioners.residual import ResidualMLP
from diffeo.conditioners.transformer import CausalTransformer, Transformer
from diffeo.conditioners.vision import VisionTransformer

__all__ = [
    "CNN",
    "MLP",
    "CausalTransformer",
    "Conditioner",
    "GatedCNN",
    "Guided",
    "MaskedMLP",
    "MaskedResidualMLP",
    "OrderedConditioner",
    "PatchTransformer",
    "ResidualCNN",
    "ResidualMLP",
    "Transformer",
    "VisionTransformer",
]
