"""Units of likelihoods of images: nats of a whole image, bits per dimension, nats of pixels in [0, 1].

With D pixels (channels counted) of L levels, and log P(x) in nats for x of whole levels:

    bits/dim = −log P(x) / (D log 2)
    log p of the dequantised image scaled to [0, 1] = log P(x) + D log L

The second is what the NICE paper states: a density of y = (x + u)/L is L^D times that of x + u.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Nats = TypeVar("Nats", float, NDArray[np.float64], Tensor)


def bits_per_dim(log_prob: Nats, dimensions: int) -> Nats:
    """Return −log P / (D log 2) of log P in nats; less is better.

    A uniform distribution over 256 levels takes 8 bits a dimension:

    >>> bits_per_dim(-784 * math.log(256), 784)
    8.0
    """
    return -log_prob / (dimensions * math.log(2))


def nats_in_unit(log_prob: Nats, dimensions: int, levels: int) -> Nats:
    """Return log P + D log L, the log-density of pixels in [0, 1]; more is better.

    The NICE paper's 1980.50 nats on MNIST are 4.36 bits per dimension:

    >>> round(bits_per_dim(1980.50 - 784 * math.log(256), 784), 2)
    4.36
    """
    return log_prob + dimensions * math.log(levels)
