# Triton has no type stubs, and what it compiles are not Python's types.
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""The rational-quadratic spline in Triton, both directions, and its reverse-mode derivatives.

A program takes BLOCK elements, each with its row of θ. What a value does there is what
:class:`diffeo.laws.RationalQuadratic` says, to rounding; the way back keeps nothing but u and θ, and
computes again what it needs. Elements beyond the box, and such as are no numbers, go through the formulas
as 0, so that every derivative is finite; the tails are selected afterwards.

Source: Durkan, Bekasov, Murray & Papamakarios, *Neural Spline Flows* (2019), equations 4–8.
"""

import triton
import triton.language as tl

from diffeo.kernels.triton.source.bins import bin_of, clamped, raw_slope, shares_back, tanh
from diffeo.kernels.triton.source.pieces import excess, is_gentle, point, rise, root


@triton.jit
def found(
    near, row, live,
    BINS: tl.constexpr, BOUND: tl.constexpr, MIN_BIN: tl.constexpr,
    STEEPEST: tl.constexpr, MATCHING: tl.constexpr, INVERSE: tl.constexpr,
):  # fmt: skip
    """Return a value's bin (number, corners, sizes, tanh of raw / steepest slopes), and ξ in it."""
    zero = tl.zeros_like(near).to(tl.int32)
    if INVERSE:
        k, bottom, height = bin_of(row + BINS, live, near, zero, BINS, BOUND, MIN_BIN, True)
        k, left, width = bin_of(row, live, near, k, BINS, BOUND, MIN_BIN, False)
    else:
        k, left, width = bin_of(row, live, near, zero, BINS, BOUND, MIN_BIN, True)
        k, bottom, height = bin_of(row + BINS, live, near, k, BINS, BOUND, MIN_BIN, False)
    bent_first = tanh(tl.div_rn(raw_slope(row, k, live, BINS, MATCHING), STEEPEST))
    bent_last = tanh(tl.div_rn(raw_slope(row, k + 1, live, BINS, MATCHING), STEEPEST))
    if INVERSE:
        first, last = tl.exp(STEEPEST * bent_first), tl.exp(STEEPEST * bent_last)
        xi = root(height, tl.div_rn(height, width), first, last, near - bottom)
    else:
        xi = clamped(tl.div_rn(near - left, width))
    return k, left, bottom, width, height, bent_first, bent_last, xi


@triton.jit
def forward(
    given_at, theta_at, value_at, log_slope_at, count,
    PARAMS: tl.constexpr, BINS: tl.constexpr, BOUND: tl.constexpr, MIN_BIN: tl.constexpr,
    STEEPEST: tl.constexpr, MATCHING: tl.constexpr, INVERSE: tl.constexpr, SAFE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write v = g(u; θ) and log ∂v/∂u, or with INVERSE u = g⁻¹(v; θ) and log ∂u/∂v.

    Shapes: ``given``, ``value`` and ``log_slope`` (count,), θ (count, PARAMS), of float32, contiguous.
    """
    here = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = here < count
    given = tl.load(given_at + here, mask=live, other=0.0)
    row = theta_at + here * PARAMS
    inside = (given >= -BOUND) & (given <= BOUND)
    near = tl.where(inside, given, 0.0)
    _, left, bottom, width, height, bent_first, bent_last, xi = found(
        near, row, live, BINS, BOUND, MIN_BIN, STEEPEST, MATCHING, INVERSE
    )
    first = tl.exp(STEEPEST * bent_first)
    last = tl.exp(STEEPEST * bent_last)
    mean = tl.div_rn(height, width)
    gentle = is_gentle(mean, first, last)
    below, above = point(mean, first, last, gentle, xi)
    more = excess(left, bottom, width, height, mean, first, last, below, xi)
    log_slope = 2.0 * tl.log(tl.div_rn(mean, below)) + tl.log(above)
    if INVERSE:
        value = tl.where(gentle, near - more, left + width * xi)
        log_slope = -log_slope
    else:
        value = tl.where(gentle, near + more, bottom + rise(height, mean, first, below, xi))
    tail = given
    log_tail = tl.zeros_like(given)
    if MATCHING:
        right = given > 0.0
        raw_edge = raw_slope(row, tl.where(right, BINS, 0), live, BINS, True)
        log_edge = STEEPEST * tanh(tl.div_rn(raw_edge, STEEPEST))
        corner = tl.where(right, BOUND, -BOUND)
        shift = tl.where(tl.abs(given) <= SAFE, corner * (1.0 - tl.exp(log_edge)), 0.0)
        if INVERSE:
            log_tail = -log_edge
            tail = (given - shift) * tl.exp(log_tail)
        else:
            log_tail = log_edge
            tail = given * tl.exp(log_tail) + shift
    tl.store(value_at + here, tl.where(inside, value, tail), mask=live)
    tl.store(log_slope_at + here, tl.where(inside, log_slope, log_tail), mask=live)


@triton.jit
def backward(
    given_at, theta_at, to_value_at, to_log_at, to_given_at, to_theta_at, count,
    PARAMS: tl.constexpr, BINS: tl.constexpr, BOUND: tl.constexpr, MIN_BIN: tl.constexpr,
    STEEPEST: tl.constexpr, MATCHING: tl.constexpr, INVERSE: tl.constexpr, SAFE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradients towards u and θ, for those towards what :func:`forward` wrote.

    Those of the inverse go through the map itself at the point found: u = g⁻¹(v; θ) has ∂u/∂v = 1 / g′ and
    ∂u/∂θ = −(∂g/∂θ) / g′.
    """
    here = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = here < count
    given = tl.load(given_at + here, mask=live, other=0.0)
    to_value = tl.load(to_value_at + here, mask=live, other=0.0)
    to_log = tl.load(to_log_at + here, mask=live, other=0.0)
    row = theta_at + here * PARAMS
    out = to_theta_at + here * PARAMS
    inside = (given >= -BOUND) & (given <= BOUND)
    near = tl.where(inside, given, 0.0)
    k, _left, _bottom, width, height, bent_first, bent_last, xi = found(
        near, row, live, BINS, BOUND, MIN_BIN, STEEPEST, MATCHING, INVERSE
    )
    first = tl.exp(STEEPEST * bent_first)
    last = tl.exp(STEEPEST * bent_last)
    mean = tl.div_rn(height, width)
    gentle = is_gentle(mean, first, last)
    below, above = point(mean, first, last, gentle, xi)

    # From v and log ∂v/∂u to the parts of their formulas, at a fixed u.
    rest = 1.0 - xi
    product = xi * rest
    bend = (first - mean) + (last - mean)
    over = tl.div_rn(1.0, below)
    ratio = tl.div_rn(mean, below)
    steep = ratio * ratio * above  # ∂v/∂u
    turn = 2.0 * tl.div_rn((last - mean) * xi - (first - mean) * rest, above)
    turn = tl.div_rn(turn - 2.0 * bend * (rest - xi) * over, width)  # ∂ log(∂v/∂u) / ∂u
    if INVERSE:
        g_log = -to_log
        g_value = -tl.div_rn(to_value + g_log * turn, steep)
        g_point = -to_value
        to_given = -g_value
    else:
        g_log = to_log
        g_value = to_value
        g_point = to_value * steep + to_log * turn
        to_given = g_point
    numerator = mean * (xi * xi) + first * product
    g_numerator = g_value * height * over
    g_below = -(g_numerator * numerator + 2.0 * g_log) * over
    g_above = tl.div_rn(g_log, above)
    g_mean = tl.div_rn(2.0 * g_log, mean) + 2.0 * g_above * product
    g_mean += g_numerator * (xi * xi) + g_below * (1.0 - 2.0 * product)
    g_first = g_above * (rest * rest) + (g_numerator + g_below) * product
    g_last = g_above * (xi * xi) + g_below * product
    g_width = tl.where(inside, -g_point * xi - tl.div_rn(g_mean * mean, width), 0.0)
    g_height = tl.where(inside, g_value * numerator * over + tl.div_rn(g_mean, width), 0.0)
    g_left = tl.where(inside, -g_point, 0.0)
    g_bottom = tl.where(inside, g_value, 0.0)

    # From slopes to raw ones, through exp and tanh; beyond the box, from the tail to that at its corner.
    g_first = tl.where(inside, g_first * first * (1.0 - bent_first * bent_first), 0.0)
    g_last = tl.where(inside, g_last * last * (1.0 - bent_last * bent_last), 0.0)
    to_tail = to_value
    if MATCHING:
        right = given > 0.0
        raw_edge = raw_slope(row, tl.where(right, BINS, 0), live, BINS, True)
        bent_edge = tanh(tl.div_rn(raw_edge, STEEPEST))
        corner = tl.where(right, BOUND, -BOUND)
        slope = tl.exp(-STEEPEST * bent_edge if INVERSE else STEEPEST * bent_edge)
        to_tail = to_value * slope
        moved = tl.where(tl.abs(given) <= SAFE, (given - corner) * to_tail, 0.0)
        g_edge = (-to_log - moved if INVERSE else to_log + moved) * (1.0 - bent_edge * bent_edge)
        k = tl.where(inside, k, tl.where(right, BINS - 1, 0))
        g_first = tl.where(inside, g_first, tl.where(right, 0.0, g_edge))
        g_last = tl.where(inside, g_last, tl.where(right, g_edge, 0.0))
    tl.store(to_given_at + here, tl.where(inside, to_given, to_tail), mask=live)
    shares_back(row, out, live, k, g_left, g_width, BINS, BOUND, MIN_BIN)
    shares_back(row + BINS, out + BINS, live, k, g_bottom, g_height, BINS, BOUND, MIN_BIN)
    lowest: tl.constexpr = 0 if MATCHING else 1
    for i in range(PARAMS - 2 * BINS):
        g = tl.where(k == i + lowest, g_first, 0.0) + tl.where(k + 1 == i + lowest, g_last, 0.0)
        tl.store(out + 2 * BINS + i, g, mask=live)
