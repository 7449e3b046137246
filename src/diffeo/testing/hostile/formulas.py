"""The formulas of the parts, written out a second time, plainly, in :mod:`exact` numbers.

Nothing here guards against anything: forty digits and a wide exponent need no clamps. The one clamp is the
documented one, that conditioners read their inputs within ±10⁶.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from diffeo import bijections as b
from diffeo import conditioners, distributions, laws
from diffeo.bijections.chain import layers_of
from diffeo.flows import Flow
from diffeo.kernels.safe import CONDITIONER_LIMIT
from diffeo.testing.hostile.exact import Exact, Precision, clamp, exp, log, log1p, sigmoid, tanh, total

Row: TypeAlias = list[Exact]


def encode(flow: Flow, x: Sequence[float], context: Sequence[float] = ()) -> tuple[Row, Exact]:
    """Return z = f⁻¹(x; c) and log │det ∂z/∂x│ of one row of a flow of vectors."""
    precision = Precision.of(flow.dtype)
    return _through(flow, [Exact.of(value, precision) for value in x], context, inverse=True)


def decode(flow: Flow, z: Sequence[float], context: Sequence[float] = ()) -> tuple[Row, Exact]:
    """Return x = f(z; c) and log │det ∂x/∂z│ of one row."""
    precision = Precision.of(flow.dtype)
    return _through(flow, [Exact.of(value, precision) for value in z], context, inverse=False)


def log_prob(flow: Flow, x: Sequence[float], context: Sequence[float] = ()) -> Exact:
    """Return log p(x | c) of one row."""
    z, log_det = encode(flow, x, context)
    return log_base(flow.base, z) + log_det


def peak(flow: Flow, row: Sequence[float], context: Sequence[float] = (), *, inverse: bool) -> Decimal:
    """Return the largest magnitude that a row has behind any layer on its way."""
    precision, largest = Precision.of(flow.dtype), Decimal(0)
    values = [Exact.of(value, precision) for value in row]
    layers = [layer for _, layer in layers_of(flow.bijection)]
    for layer in reversed(layers) if inverse else layers:
        values, _ = _layer(layer, values, context, inverse=inverse)
        largest = max(largest, *(abs(value.value) for value in values))
    return largest


def _through(flow: Flow, row: Row, context: Sequence[float], *, inverse: bool) -> tuple[Row, Exact]:
    layers = [layer for _, layer in layers_of(flow.bijection)]
    log_det = Exact.of(0.0, row[0].precision)
    for layer in reversed(layers) if inverse else layers:
        row, part = _layer(layer, row, context, inverse=inverse)
        log_det = log_det + part
    return row, log_det


def _layer(layer: Any, row: Row, context: Sequence[float], *, inverse: bool) -> tuple[Row, Exact]:
    match layer:
        case b.Coupling():
            return _coupling(layer, row, context, inverse=inverse)
        case b.Identity():
            return row, Exact.of(0.0, row[0].precision)
        case b.Permutation():
            order = layer.get_buffer("back" if inverse else "order").tolist()
            return [row[k] for k in order], Exact.of(0.0, row[0].precision)
        case b.Log():
            return _log(layer, row, inverse=inverse)
        case b.Logit():
            return _logit(layer, row, inverse=inverse)
        case b.Whiten():
            return _whiten(layer, row, inverse=inverse)
        case _:
            log_scales, shifts = _scales_and_shifts(layer, row[0].precision)
            pairs = zip(row, log_scales, shifts, strict=True)
            moved = [_affine(u, s, t, inverse=inverse) for u, s, t in pairs]
            log_det = total(log_scales)
            return moved, -log_det if inverse else log_det


def _affine(u: Exact, log_scale: Exact, shift: Exact, *, inverse: bool) -> Exact:
    if inverse:
        return (u - shift) * (-log_scale).map(exp)
    return u * log_scale.map(exp) + shift


def _scales_and_shifts(layer: Any, precision: Precision) -> tuple[Row, Row]:
    """Return log-scales and shifts of an elementwise affine layer, from noise to data."""
    numbers = _given(precision)
    match layer:
        case b.Scale() | b.Affine():
            log_scale = [_bounded(raw, layer.bound) for raw in numbers(layer.raw_log_scale)]
            shift = numbers(layer.shift) if isinstance(layer, b.Affine) else numbers([0.0] * len(log_scale))
        case b.ActNorm():
            log_scale, shift = numbers(layer.log_scale), numbers(layer.shift)
        case b.Standardize():
            log_scale = [scale.map(log) for scale in numbers(layer.get_buffer("scale"))]
            shift = numbers(layer.get_buffer("loc"))
        case b.BatchNorm():
            variances = numbers(layer.get_buffer("variance"))
            log_scale = [(variance + layer.eps).map(log) * 0.5 for variance in variances]
            shift = numbers(layer.get_buffer("mean"))
        case _:
            raise NotImplementedError(f"{type(layer).__name__} has no formula here; write it above.")
    return log_scale, shift


def _coupling(layer: b.Coupling, row: Row, context: Sequence[float], *, inverse: bool) -> tuple[Row, Exact]:
    passed = layer.mask.tensor().tolist()
    seen = [value for value, kept in zip(row, passed, strict=True) if kept]
    seen += _given(row[0].precision)(context)
    assert isinstance(layer.conditioner, conditioners.MLP)
    theta = iter(_mlp(layer.conditioner, [u.map(_clamped) for u in seen]))
    moved, log_det = list[Exact](), Exact.of(0.0, row[0].precision)
    for u, kept in zip(row, passed, strict=True):
        if kept:
            moved.append(u)
        elif isinstance(layer.law, laws.Additive):
            shift = next(theta)
            moved.append(u - shift if inverse else u + shift)
        else:
            assert isinstance(layer.law, laws.Affine)
            log_scale, shift = _bounded(next(theta), layer.law.bound), next(theta)
            moved.append(_affine(u, log_scale, shift, inverse=inverse))
            log_det = log_det + log_scale
    return moved, -log_det if inverse else log_det


def _mlp(network: conditioners.MLP, h: Row) -> Row:
    assert network.layers is not None
    for part in network.layers:
        if isinstance(part, nn.Linear):
            numbers = _given(h[0].precision)
            weights = [numbers(weight) for weight in part.weight]
            h = [
                total([*(w * u for w, u in zip(weight, h, strict=True)), bias])
                for weight, bias in zip(weights, numbers(part.bias), strict=True)
            ]
        elif isinstance(part, nn.ReLU):
            h = [u.map(_positive) for u in h]
        else:
            assert isinstance(part, nn.Tanh)
            h = [u.map(tanh) for u in h]
    return h


def _log(layer: b.Log, row: Row, *, inverse: bool) -> tuple[Row, Exact]:
    if not inverse:
        return [z.map(exp) + layer.shift for z in row], total(row)
    z = [(x - layer.shift).map(log) for x in row]
    return z, -total([value if value.value.is_finite() else value * 0.0 for value in z])


def _logit(layer: b.Logit, row: Row, *, inverse: bool) -> tuple[Row, Exact]:
    precision = row[0].precision
    width = Exact.of((layer.high - layer.low) / (1 - 2 * layer.alpha), precision)
    if not inverse:
        x = [(z.map(sigmoid) - layer.alpha) * width + layer.low for z in row]
        slopes = [_log_slope(z) + width.map(log) for z in row]
        return x, total(slopes)
    over = Exact.of(float(1 / width.value), precision)
    z, terms = list[Exact](), [Exact.of(0.0, precision)]
    for x in row:
        below = ((x - layer.low) * over + layer.alpha).map(log)
        above = ((-x + layer.high) * over + layer.alpha).map(log)
        z.append(below - above)
        if z[-1].value.is_finite():
            terms.append(-(below + above + width.map(log)))
    return z, total(terms)


def _whiten(layer: b.Whiten, row: Row, *, inverse: bool) -> tuple[Row, Exact]:
    numbers = _given(row[0].precision)
    scale, mean = numbers(layer.get_buffer("scale")), numbers(layer.get_buffer("mean"))
    log_det = total([s.map(log) for s in scale])
    # The inverse of the factor as it is stored: its columns are orthogonal only to its precision.
    factor = layer.get_buffer("factor").double()

    def times(matrix: torch.Tensor, rows: Row) -> Row:
        lines = [numbers(line) for line in matrix]
        return [total([a * u for a, u in zip(line, rows, strict=True)]) for line in lines]

    back = torch.linalg.inv(factor)
    if inverse:
        z = times(back, [x - m for x, m in zip(row, mean, strict=True)])
        z = [value * s.map(_reciprocal) for value, s in zip(z, scale, strict=True)]
        return times(factor, z) if layer.method == "zca" else z, -log_det
    turned = times(back, row) if layer.method == "zca" else row
    spread = [z * s for z, s in zip(turned, scale, strict=True)]
    return [x + m for x, m in zip(times(factor, spread), mean, strict=True)], log_det


def log_base(base: Any, z: Row) -> Exact:
    """Return log π(z) of one row."""
    numbers = _given(z[0].precision)
    half_log_2pi = 0.5 * math.log(2 * math.pi)
    match base:
        case distributions.StandardNormal():
            return total([value * value * -0.5 - half_log_2pi for value in z])
        case distributions.StandardLogistic():
            return total([_log_slope(value) for value in z])
        case distributions.DiagonalNormal():
            log_scale = [_bounded(raw, 10.0) for raw in numbers(base.raw_log_scale)]
            unit = [
                _affine(value, s, t, inverse=True)
                for value, s, t in zip(z, log_scale, numbers(base.loc), strict=True)
            ]
            return total([u * u * -0.5 - half_log_2pi - s for u, s in zip(unit, log_scale, strict=True)])
        case distributions.Uniform():
            inside = all(base.low <= value.value <= base.high for value in z)
            height = -math.log(base.high - base.low) * len(z) if inside else -math.inf
            return Exact.of(0.0, z[0].precision) + height
        case distributions.Wrapped():
            return _student_t(base.distribution.base_dist.df, z)  # pyright: ignore[reportAttributeAccessIssue]
        case _:
            raise NotImplementedError(f"{type(base).__name__} has no formula here; write it above.")


def _student_t(degrees: Tensor, z: Row) -> Exact:
    terms = list[Exact]()
    for value, df in zip(z, degrees.tolist(), strict=True):
        constant = 0.5 * math.log(df * math.pi) + math.lgamma(0.5 * df) - math.lgamma(0.5 * (df + 1))
        terms.append((value * value * (1 / df)).map(log1p) * (-0.5 * (df + 1)) - constant)
    return total(terms)


def _log_slope(z: Exact) -> Exact:
    """Return log σ(z) σ(−z)."""
    size = z.map(abs)
    return -size - (-size).map(exp).map(log1p) * 2.0


def _bounded(raw: Exact, bound: float) -> Exact:
    return (raw * (1 / bound)).map(tanh) * bound


def _given(precision: Precision) -> Callable[[Any], Row]:
    def numbers(values: Any) -> Row:
        listed = values.detach().double().flatten().tolist() if isinstance(values, Tensor) else values
        return [Exact.of(value, precision) for value in listed]

    return numbers


def _clamped(x: Decimal) -> Decimal:
    return clamp(x, Decimal(CONDITIONER_LIMIT))


def _positive(x: Decimal) -> Decimal:
    return max(x, Decimal(0))


def _reciprocal(x: Decimal) -> Decimal:
    return Decimal(1) / x
