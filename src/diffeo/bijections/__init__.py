"""Bijections x = f(z): differentiable, invertible, with a cheap Jacobian determinant."""

from diffeo.bijections.actnorm import ActNorm
from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.batchnorm import BatchNorm
from diffeo.bijections.bijection import Bijection
from diffeo.bijections.bnaf import BNAF
from diffeo.bijections.bounded import Bounded, onto
from diffeo.bijections.chain import Chain, Identity, Inverse, set_memory
from diffeo.bijections.circle import CircularShift, Wrap
from diffeo.bijections.continuous import Continuous, SolverInfo
from diffeo.bijections.contractive import Contractive
from diffeo.bijections.conv1x1 import InvertibleConv1x1
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.elementwise import Affine, Scale
from diffeo.bijections.gaussianize import Gaussianize
from diffeo.bijections.leaky import LeakyReLU
from diffeo.bijections.lu import LU
from diffeo.bijections.mask import Mask
from diffeo.bijections.orthogonal import QR, SVD, Orthogonal
from diffeo.bijections.pattern import Pattern
from diffeo.bijections.permutation import Permutation
from diffeo.bijections.planar import Planar
from diffeo.bijections.power import Power
from diffeo.bijections.radial import Radial
from diffeo.bijections.rearranged import Flattened, Squeezed
from diffeo.bijections.sinh_arcsinh import SinhArcsinh
from diffeo.bijections.soft import Softplus, Tanh
from diffeo.bijections.split import Split
from diffeo.bijections.squeeze import Squeeze
from diffeo.bijections.standardize import Standardize
from diffeo.bijections.support import Log, Logit
from diffeo.bijections.sylvester import Sylvester
from diffeo.bijections.triangular import Triangular
from diffeo.bijections.whiten import Whiten

__all__ = [
    "BNAF",
    "LU",
    "QR",
    "SVD",
    "ActNorm",
    "Affine",
    "Autoregressive",
    "BatchNorm",
    "Bijection",
    "Bounded",
    "Chain",
    "CircularShift",
    "Continuous",
    "Contractive",
    "Coupling",
    "Flattened",
    "Gaussianize",
    "Identity",
    "Inverse",
    "InvertibleConv1x1",
    "LeakyReLU",
    "Log",
    "Logit",
    "Mask",
    "Orthogonal",
    "Pattern",
    "Permutation",
    "Planar",
    "Power",
    "Radial",
    "Scale",
    "SinhArcsinh",
    "Softplus",
    "SolverInfo",
    "Split",
    "Squeeze",
    "Squeezed",
    "Standardize",
    "Sylvester",
    "Tanh",
    "Triangular",
    "Whiten",
    "Wrap",
    "onto",
    "set_memory",
]
