"""Determinant cheap: what a pass with its log-determinant costs, beside autograd's full Jacobian.

Work is counted, not timed: 2·M·N·K for a matrix product, D³ for a factorisation of a D×D matrix, one for
each element that any other operation writes. Counts repeat exactly, on any machine.

One backward pass costs about as much as the forward pass it belongs to, whatever the map is made of. A
pass that costs as much as a few backward passes has a cheap determinant; one that costs as much as D of
them has computed a Jacobian.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from diffeo.diagnostics.checks.determinant import jacobian, log_abs_det
from diffeo.diagnostics.checks.subject import apply, check, flat_rows, own_copy
from diffeo.diagnostics.figure import Figure

#: A pass may cost this many backward passes.
PASSES = 4.0

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "mv", "dot")
_FACTORISATIONS = (
    "linalg_slogdet", "_linalg_slogdet", "linalg_det", "_linalg_det", "linalg_lu_factor_ex", "linalg_lu",
    "linalg_inv_ex", "linalg_solve_ex", "_linalg_solve_ex", "linalg_qr", "_linalg_svd", "_linalg_eigh",
    "linalg_eig", "linalg_cholesky_ex", "logdet", "linalg_eigvals", "_linalg_eigvals",
)  # fmt: skip


@dataclass
class _Count(TorchDispatchMode):
    """Counts the work of the operations inside its ``with`` block."""

    work: float = 0.0
    #: Sizes (batch, D) of the matrices that were factorised.
    factorised: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        tensors = [a for a in args if isinstance(a, Tensor)]
        # A comparison read back by the host is a bool, and writes nothing.
        outputs = out if isinstance(out, tuple | list) else (out,)
        first = next((o for o in outputs if isinstance(o, Tensor)), None)
        written = first.numel() if first is not None else 0
        if name in _FACTORISATIONS and tensors:
            size = tensors[0].shape[-1]
            batch = tensors[0].numel() // max(1, size * tensors[0].shape[-2])
            self.factorised.append((batch, size))
            self.work += batch * size**3
        elif name in _PRODUCTS and len(tensors) >= 2:
            self.work += 2.0 * written * tensors[-2].shape[-1]
        elif not func.is_view:
            self.work += written
        return out


@check("cost of the determinant")
def cost(bijection: Any, value: Tensor, context: Tensor | None = None, *, limit: float = PASSES) -> Figure:
    """Measure a pass with its log-determinant in units of one backward pass, in the cheaper direction.

    One unit is 1/D of the work of autograd's full Jacobian. A triangular Jacobian makes it about one
    whatever D is, a log-determinant read off a dense Jacobian about D/2. A factorisation of one D×D
    matrix for each row fails in either direction, also where D is too small to tell by the work.

    >>> from diffeo.bijections import Scale
    >>> cost(Scale(8), torch.ones(3, 8)).ok
    True
    """
    subject = own_copy(bijection, value.dtype)
    rows, given = flat_rows(subject, value, context)
    size = rows[0].numel()
    # Three rows at least, so that a factorisation for each row differs from one of a weight matrix.
    rows = rows if len(rows) >= 3 else rows.repeat(3, *[1] * subject.event_ndim)
    given = given if given is None or len(given) == len(rows) else given.repeat(3, 1)
    passes: dict[str, float] = {}
    dense: list[str] = []
    for inverse in (False, True):
        name = "x → z" if inverse else "z → x"
        own, full, factorised = _work(subject, rows, given, inverse)
        passes[name] = own / max(full / size, 1.0)
        if any(count >= len(rows) and width >= max(size, 2) for count, width in factorised):
            dense.append(name)
    best = min(passes, key=lambda name: passes[name])
    detail = ", ".join(f"{name} costs {passes[name]:.2g}" for name in passes) + " backward passes"
    if dense:
        detail = f"a dense {size}×{size} matrix is factorised for every row ({', '.join(dense)}): O(D³)"
    elif passes[best] > limit:
        detail += f": as much as a full Jacobian of {size} columns"
    return Figure(
        "cost of a pass, in backward passes",
        worst=passes[best],
        limit=limit,
        tested=2,
        failed=len(dense) + int(passes[best] > limit),
        detail=detail,
    )


@check("cost as the dimension grows")
def growth(
    make: Callable[[int], Any],
    dims: Sequence[int] = (2, 4, 8, 16, 32, 64),
    *,
    limit: float = 0.5,
    seed: int = 0,
) -> Figure:
    """Measure how the cost of a pass grows with D, beside autograd's full Jacobian: linear, or not.

    The work is fitted by Dᵖ over the larger half of ``dims``. ``worst`` is by how much p exceeds that of
    one backward pass (the Jacobian's, less one): about 0 for a cheap determinant, 1 or 2 for a dense one.

    Args:
        make: builds the bijection of D features.
        dims: the D's.
        limit: the largest excess that passes.
        seed: of the values it is called on.

    >>> from diffeo.bijections import Scale
    >>> growth(Scale).detail
    "a pass costs O(D^1.0), linear; autograd's full Jacobian O(D^2.0)"
    """
    own: list[float] = []
    full: list[float] = []
    for size in dims:
        subject = own_copy(make(size), torch.float32)
        noise = torch.randn(4, size, generator=torch.Generator().manual_seed(seed))
        features = int(getattr(subject, "context_features", 0))
        context = noise.new_zeros(4, features) if features else None
        work = [_work(subject, noise, context, inverse)[:2] for inverse in (False, True)]
        best = min(work)
        own.append(best[0])
        full.append(best[1])
    ours, theirs = _exponent(dims, own), _exponent(dims, full)
    excess = max(ours - (theirs - 1.0), 0.0)
    linear = "linear" if ours <= 1.25 else "not linear"
    return Figure(
        "cost as the dimension grows",
        worst=excess,
        limit=limit,
        tested=len(dims),
        failed=int(not excess <= limit),
        detail=f"a pass costs O(D^{ours:.1f}), {linear}; autograd's full Jacobian O(D^{theirs:.1f})",
    )


def wall_clock(
    bijection: Any, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> tuple[float, float]:
    """Return the seconds of one pass with its log-determinant, and of autograd's Jacobian and its slogdet.

    The best of three each, on this machine, for rows (n, *event).
    """
    subject = own_copy(bijection, value.dtype)

    def timed(function: Callable[[], Any]) -> float:
        best = math.inf
        for _ in range(3):
            start = time.perf_counter()
            function()
            best = min(best, time.perf_counter() - start)
        return best

    with torch.no_grad():
        own = timed(lambda: apply(subject, value, context, inverse=inverse))
    return own, timed(
        lambda: log_abs_det(jacobian(subject, value, context, inverse=inverse, together=False))
    )


def _work(
    subject: Any, rows: Tensor, context: Tensor | None, inverse: bool
) -> tuple[float, float, list[tuple[int, int]]]:
    """Return the work of one pass, that of autograd's Jacobian, and what the pass factorised."""
    with torch.no_grad(), _Count() as own:
        apply(subject, rows, context, inverse=inverse)
    with _Count() as full:
        jacobian(subject, rows, context, inverse=inverse, together=False)  # D backward passes are the unit
    return own.work, full.work, own.factorised


def _exponent(dims: Sequence[int], work: Sequence[float]) -> float:
    """Return p of the least-squares fit of log work = p log D + c over the larger half of the D's."""
    half = len(dims) // 2
    x = torch.tensor(dims[half:], dtype=torch.float64).log()
    y = torch.tensor(work[half:], dtype=torch.float64).clamp(min=1.0).log()
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())
