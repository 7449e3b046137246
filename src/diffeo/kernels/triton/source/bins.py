# Triton has no type stubs, and what it compiles are not Python's types.
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""θ of a spline as Triton reads it: sizes of bins by a softmax, corners by their sums, slopes by exp.

Everything is one number an element, in registers; a loop over bins takes the place of a wide tensor. Bins
are found by comparing as the corners go by, with no gather.
"""

import triton
import triton.language as tl


@triton.jit
def tanh(x):
    """Return tanh x: within ±0.625 x + x³ P(x²), and (1 − t) / (1 + t) with t = exp(−2 │x│) beyond.

    Source: Moshier, *Methods and Programs for Mathematical Functions* (1989), Cephes' tanhf.
    """
    z = x * x
    p = (-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2
    p = (p * z + 1.33314422036e-1) * z - 3.33332819422e-1
    size = tl.abs(x)
    t = tl.exp(-2.0 * size)
    far = tl.div_rn(1.0 - t, 1.0 + t)
    return tl.where(size >= 0.625, tl.where(x < 0.0, -far, far), x + x * z * p)


@triton.jit
def clamped(x):
    """Return x within [0, 1]; NaN stays NaN, which minimum and maximum would drop."""
    return tl.where(x < 0.0, 0.0, tl.where(x > 1.0, 1.0, x))


@triton.jit
def raw_slope(row, knot, live, BINS: tl.constexpr, MATCHING: tl.constexpr):
    """Return the raw slope at a knot: 0, which stands for slope 1, at the outermost of linear tails."""
    if MATCHING:
        return tl.load(row + 2 * BINS + knot, mask=live, other=0.0)
    inner = live & (knot > 0) & (knot < BINS)
    return tl.load(row + 2 * BINS - 1 + knot, mask=inner, other=0.0)


@triton.jit
def powers(raw, live, BINS: tl.constexpr):
    """Return the largest of K raw sizes, and 1 / Σ exp(raw − largest)."""
    top = tl.load(raw, mask=live, other=0.0)
    for i in range(1, BINS):
        top = tl.maximum(top, tl.load(raw + i, mask=live, other=0.0))
    total = tl.zeros_like(top)
    for i in range(BINS):
        total += tl.exp(tl.load(raw + i, mask=live, other=0.0) - top)
    return top, tl.div_rn(1.0, total)


@triton.jit
def bin_of(
    raw, live, value, known,
    BINS: tl.constexpr, BOUND: tl.constexpr, MIN_BIN: tl.constexpr, SEARCHED: tl.constexpr,
):  # fmt: skip
    """Return the number, lower corner and size of a bin on one axis.

    With ``SEARCHED`` it is the last bin whose lower corner is at or below ``value``, else bin ``known``.
    Corners are −B + 2 B Σ shares; the sum keeps what it rounds away (Kahan, 1965).
    """
    top, over = powers(raw, live, BINS)
    free: tl.constexpr = 1.0 - MIN_BIN * BINS
    total = tl.zeros_like(top)
    lost = tl.zeros_like(top)
    edge = tl.zeros_like(top) - BOUND
    corner = tl.zeros_like(top) - BOUND
    size = tl.zeros_like(top)
    number = known
    for i in range(BINS):
        share = MIN_BIN + free * (tl.exp(tl.load(raw + i, mask=live, other=0.0) - top) * over)
        term = share - lost
        more = total + term
        lost = (more - total) - term
        total = more
        upper = tl.where(i + 1 == BINS, BOUND, (2.0 * total - 1.0) * BOUND)
        if SEARCHED:
            here = (edge <= value) | (i == 0)
            number = tl.where(here, i, number)
        else:
            here = known == i
        corner = tl.where(here, edge, corner)
        size = tl.where(here, upper - edge, size)
        edge = upper
    return number, corner, size


@triton.jit
def shares_back(
    raw, out, live, number, to_corner, to_size,
    BINS: tl.constexpr, BOUND: tl.constexpr, MIN_BIN: tl.constexpr,
):  # fmt: skip
    """Write the gradients towards K raw sizes, for those towards the corner and the size of one bin.

    With softmax p and g = (to_corner before the bin, to_size in it, 0 behind): 2 B (1 − K m) p (g − Σ p g).
    """
    top, over = powers(raw, live, BINS)
    before = tl.zeros_like(top)
    own = tl.zeros_like(top)
    for i in range(BINS):
        p = tl.exp(tl.load(raw + i, mask=live, other=0.0) - top) * over
        before += tl.where(number > i, p, 0.0)
        own = tl.where(number == i, p, own)
    mean = before * to_corner + own * to_size
    scale: tl.constexpr = 2.0 * BOUND * (1.0 - MIN_BIN * BINS)
    for i in range(BINS):
        p = tl.exp(tl.load(raw + i, mask=live, other=0.0) - top) * over
        g = tl.where(number > i, to_corner, tl.where(number == i, to_size, 0.0))
        tl.store(out + i, scale * p * (g - mean), mask=live)
