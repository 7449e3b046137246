"""Hostile numbers: each put into one element of one row of data, of noise and of context.

The oracle is the flow's own formulas in forty digits (:mod:`formulas`): a finite answer agrees with it as
far as its conditioning allows; an infinite one is right where the true value, or its image behind a layer
on the way, leaves the range of the precision;
NaN is right for NaN only (and for a context that is not finite, as documented). The rows beside it keep
their bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch import distributions as td

from diffeo.bijections import (
    ActNorm,
    Affine,
    Chain,
    Identity,
    Log,
    Logit,
    Permutation,
    Scale,
    Standardize,
    Whiten,
)
from diffeo.distributions import DiagonalNormal, StandardLogistic, StandardNormal, Uniform, Wrapped
from diffeo.flows import NICE, Flow, RealNVP
from diffeo.testing.hostile import formulas
from diffeo.testing.hostile.entry import Answers, Entry
from diffeo.testing.hostile.exact import Exact
from diffeo.testing.stressed import stress

_ROWS, _BAD, _CONTEXT = 3, 1, 2

#: Torch's own formula squares what it is given: beyond the square root of the largest number it is −∞.
_TORCH_FORMULA = ("Wrapped",)


@dataclass(frozen=True)
class _Subject:
    """A flow with stressed parameters and three ordinary rows on both of its sides."""

    name: str
    flow: Flow
    x: Tensor
    z: Tensor
    context: Tensor | None


def number_entries(seed: int = 0) -> Iterator[Entry]:
    """Yield the entries of hostile numbers."""
    for dtype in (torch.float32, torch.float64):
        for name in _MAKERS:
            operations = ["log_prob", "encode", "decode"]
            if name.endswith("context"):
                operations += [f"{operation}, context" for operation in (*operations, "sample")]
            for operation in operations:
                for shown, value in hostile_values(dtype).items():
                    call = partial(_call, name, dtype, seed, operation, value)
                    check = partial(_complaint, name, dtype, seed, operation, value)
                    yield Entry(
                        f"{shown} to {operation} of {name}, {str(dtype)[6:]}",
                        "numbers",
                        call,
                        Answers(check),
                    )


def hostile_values(dtype: torch.dtype) -> dict[str, float]:
    """Return the hostile numbers of a precision, by name.

    >>> len(hostile_values(torch.float32))
    19
    """
    info = torch.finfo(dtype)
    named = {
        "the smallest subnormal": info.smallest_normal * info.eps,
        "the largest number": info.max,
        "the lowest number": info.min,
        # Half of the square of this one is in range, its square is not.
        "1.2 √largest": 1.2 * math.sqrt(info.max),
    }
    plain = (0.0, -0.0, 1e-30, 1e-10, 0.999, 20.0, -200.0, 1e3, -1e10, 1e10, 1e18, 1e30,
             math.inf, -math.inf, math.nan)  # fmt: skip
    return named | {f"{value:g}": float(torch.tensor(value, dtype=dtype)) for value in plain}


def _nice(context: int = 0) -> Flow:
    return NICE(2, context, couplings=2, hidden=(4,))


def _real_nvp(context: int = 0) -> Flow:
    return RealNVP(2, context, couplings=2, hidden=(4,), activation="tanh")


def _standardized() -> Flow:
    return _real_nvp().then(Standardize(2))


def _whitened() -> Flow:
    return _real_nvp().then(Whiten(2))


def _log() -> Flow:
    return _real_nvp().then(Log())


def _logit() -> Flow:
    return _real_nvp().then(Logit(-1.0, 3.0, alpha=0.05))


def _student() -> Flow:
    return Flow(Wrapped(td.StudentT(torch.tensor([3.0, 4.5]))), Affine(2))


def _uniform() -> Flow:
    return Flow(Uniform(2, -1.0, 3.0), Affine(2))


def _diagonal() -> Flow:
    return Flow(DiagonalNormal(2), Chain(Permutation([1, 0]), ActNorm(2)))


def _normal() -> Flow:
    return Flow(StandardNormal(2), Identity())


def _logistic() -> Flow:
    return Flow(StandardLogistic(2), Scale(2))


_MAKERS = {
    "StandardNormal": _normal,
    "StandardLogistic": _logistic,
    "NICE": _nice,
    "RealNVP": _real_nvp,
    "RealNVP, Standardize": _standardized,
    "RealNVP, Whiten": _whitened,
    "RealNVP, Log": _log,
    "RealNVP, Logit": _logit,
    "Wrapped, Student's t": _student,
    "Uniform": _uniform,
    "DiagonalNormal, ActNorm": _diagonal,
    "NICE, context": partial(_nice, _CONTEXT),
    "RealNVP, context": partial(_real_nvp, _CONTEXT),
}


@functools.cache
def _subject(name: str, dtype: torch.dtype, seed: int) -> _Subject:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = _MAKERS[name]().double()
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = normal(40, 2)
    # Positive, and within every box above.
    x = (0.3 * x @ torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=torch.float64)).exp().clamp(0.05, 2.9)
    context = normal(40, _CONTEXT) if flow.context_features else None
    flow = stress(flow, gain=2.0, seed=seed, x=x, context=context).to(dtype)
    rows = None if context is None else context[:_ROWS].to(dtype)
    return _Subject(name, flow, x[:_ROWS].to(dtype), normal(_ROWS, 2).to(dtype), rows)


def _call(name: str, dtype: torch.dtype, seed: int, operation: str, value: float) -> tuple[Tensor, Tensor]:
    """Return the operation's result for ordinary rows, and for the same rows with the hostile number."""
    subject = _subject(name, dtype, seed)
    return _result(subject, operation, None), _result(subject, operation, value)


@torch.no_grad()
def _result(subject: _Subject, operation: str, value: float | None) -> Tensor:
    method, _, where = operation.partition(", ")
    given, context = _placed(subject, operation, value)
    if method == "sample":
        assert where
        return subject.flow.sample((), context, generator=torch.Generator().manual_seed(1))
    return getattr(subject.flow, method)(given, context)


def _placed(subject: _Subject, operation: str, value: float | None) -> tuple[Tensor, Tensor | None]:
    method, _, where = operation.partition(", ")
    given = (subject.z if method == "decode" else subject.x).clone()
    context = None if subject.context is None else subject.context.clone()
    if value is not None:
        target = context if where else given
        assert target is not None
        target[_BAD, 0] = value
    return given, context


def _complaint(
    name: str, dtype: torch.dtype, seed: int, operation: str, value: float, found: tuple[Tensor, Tensor]
) -> str:
    """Return what is wrong with a result, or an empty string."""
    clean, dirty = found
    others = torch.arange(_ROWS) != _BAD
    if not torch.equal(clean[others], dirty[others]):
        return "another row changed"
    subject = _subject(name, dtype, seed)
    method, _, where = operation.partition(", ")
    row = dirty[_BAD].reshape(-1).tolist()
    if math.isnan(value) or (where and not math.isfinite(value)):
        return "" if any(math.isnan(number) for number in row) else f"{row}, where NaN is right"
    if method == "log_prob" and row == [math.inf]:
        return "a log-density of +inf"
    wanted = _wanted(subject, operation, value)
    if method == "log_prob" and any(exact.value.is_nan() for exact in wanted):
        wanted = [Exact.of(-math.inf, wanted[0].precision)]  # ∞ − ∞ on the way from an infinite point
    if any(exact.value.is_nan() for exact in wanted):
        return ""  # the image of an infinite point that has no limit
    complaints = [
        exact.complaint(number)
        for exact, number in zip(wanted, row, strict=True)
        if not (math.isinf(number) and _leaves_range(subject, operation, value))
    ]
    return "; ".join(filter(None, complaints))


def _leaves_range(subject: _Subject, operation: str, value: float) -> bool:
    """Whether the hostile row is, behind a layer on its way, beyond what its precision holds."""
    row, steer = _row(subject, operation, value)
    method = operation.partition(", ")[0]
    limit = torch.finfo(subject.flow.dtype).max
    if method == "log_prob" and subject.name.startswith(_TORCH_FORMULA):
        limit = math.sqrt(limit)
    return formulas.peak(subject.flow, row, steer, inverse=method in ("log_prob", "encode")) > limit


def _wanted(subject: _Subject, operation: str, value: float) -> list[Exact]:
    row, steer = _row(subject, operation, value)
    method = operation.partition(", ")[0]
    if method == "log_prob":
        return [formulas.log_prob(subject.flow, row, steer)]
    map_ = formulas.encode if method == "encode" else formulas.decode
    return map_(subject.flow, row, steer)[0]


@torch.no_grad()
def _row(subject: _Subject, operation: str, value: float) -> tuple[list[float], list[float]]:
    """Return the hostile row and its context."""
    given, context = _placed(subject, operation, value)
    if operation.startswith("sample"):
        generator = torch.Generator().manual_seed(1)
        given = subject.flow.base.sample((_ROWS,), context, generator=generator)
    return given[_BAD].tolist(), [] if context is None else context[_BAD].tolist()
