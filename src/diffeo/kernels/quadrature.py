"""Gauss and Legendre's rule, as plain numbers."""

from __future__ import annotations

from functools import cache

import numpy as np


def gauss_legendre(n: int) -> list[tuple[float, float]]:
    """Return the ``n`` nodes and weights of [0, 1]: exact for polynomials of degree 2n − 1.

    >>> gauss_legendre(1)
    [(0.5, 1.0)]
    """
    return _rule(n)


# What torch.compiler.assume_constant_result sets: that decorator imports the whole compiler, for a second.
gauss_legendre.__dict__["_dynamo_marked_constant"] = True


@cache
def _rule(n: int) -> list[tuple[float, float]]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return [(float(node + 1) / 2, float(weight) / 2) for node, weight in zip(nodes, weights, strict=True)]
