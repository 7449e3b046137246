# Triton has no type stubs, and what it compiles are not Python's types.
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""A rational-quadratic piece in Triton: its value, its slope and its inverse.

With ξ = (u − x_k) / w, mean slope s = h / w and end slopes δ₀, δ₁:

    v = y_k + h (s ξ² + δ₀ ξ (1 − ξ)) / (s + (δ₀ + δ₁ − 2 s) ξ (1 − ξ)).

:mod:`diffeo.laws.rational_quadratic` says the same in torch, and why formulas are written around the
diagonal where all slopes are within a factor of 2 of 1.

Source: Durkan, Bekasov, Murray & Papamakarios, *Neural Spline Flows* (2019), equations 4–8.
"""

import triton
import triton.language as tl

from diffeo.kernels.triton.source.bins import clamped


@triton.jit
def is_gentle(mean, first, last):
    """Return whether all slopes are within a factor of 2 of 1."""
    low = tl.minimum(tl.minimum(first, last), mean)
    high = tl.maximum(tl.maximum(first, last), mean)
    return (low > 0.5) & (high < 2.0)


@triton.jit
def point(mean, first, last, gentle, xi):
    """Return the denominator s + bend ξ (1 − ξ), and (∂v/∂u) (denominator / s)²."""
    rest = 1.0 - xi
    product = xi * rest
    bend = (first - mean) + (last - mean)
    apart = mean * (1.0 - 2.0 * product) + (first + last) * product
    below = tl.where(gentle, mean + bend * product, apart)
    around = mean + (last - mean) * (xi * xi) + (first - mean) * (rest * rest)
    apart = last * (xi * xi) + 2.0 * mean * product + first * (rest * rest)
    return below, tl.where(gentle, around, apart)


@triton.jit
def rise(height, mean, first, below, xi):
    """Return v − y_k."""
    return tl.div_rn(height * xi * (mean * xi + first * (1.0 - xi)), below)


@triton.jit
def excess(left, bottom, width, height, mean, first, last, below, xi):
    """Return v − u, exactly 0 where the bin is the diagonal."""
    bend = (first - mean) + (last - mean)
    curve = tl.div_rn((first - mean) - bend * xi, below)
    straight = (bottom - left) + (height - width) * xi
    return straight + height * (xi * (1.0 - xi)) * curve


@triton.jit
def root(height, mean, first, last, up):
    """Return ξ with v(ξ) − y_k = up: the root that does not cancel, and three of Newton's steps on v."""
    gentle = is_gentle(mean, first, last)
    bend = (first - mean) + (last - mean)
    a = up * bend + height * (mean - first)
    b = height * first - up * bend
    d = b * b + 4.0 * a * mean * up
    d = tl.where(d < 1.17549435e-38, 1.17549435e-38, d)
    xi = clamped(tl.div_rn(2.0 * mean * up, b + tl.sqrt_rn(d)))
    for _ in range(3):
        below, above = point(mean, first, last, gentle, xi)
        steep = tl.div_rn(height * mean * above, below * below)  # ∂v/∂ξ
        xi = clamped(xi - tl.div_rn(rise(height, mean, first, below, xi) - up, steep))
    return xi
