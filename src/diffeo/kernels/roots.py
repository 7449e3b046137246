"""The root of a strictly increasing function: bracketed, never lost, differentiable.

One finder for every law without a closed inverse. Newton's steps are taken as long as they stay in the
bracket and shrink; otherwise the bracket is halved, so that convergence is certain: a bracket of width w
shrinks to a rounding in at most 2 log₂(w / ε) evaluations, whatever the function. A row that has converged
stays as it is, so that its answer does not depend on the rows beside it.

The gradient is that of the implicit function: two Newton steps from the detached root r carry it,

    u = r − (g(r; θ) − v) / g′(r; θ),   ∂u/∂v = 1 / g′,   ∂u/∂θ = −(∂g/∂θ) / g′,

the second of them for the second derivatives.

Source: Press, Teukolsky, Vetterling & Flannery, *Numerical Recipes* (2007), section 9.4 (rtsafe).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop

#: u ↦ (g(u), log g′(u)), elementwise.
Increasing = Callable[[Tensor], tuple[Tensor, Tensor]]


class Root(NamedTuple):
    """A root and how it was found.

    Attributes:
        value: u with g(u) = target.
        log_slope: log g′(u).
        residual: |g(u) − target|, per element.
        converged: whether the last step, or the bracket, was within a rounding of u.
        iterations: evaluations of g, per element.
    """

    value: Tensor
    log_slope: Tensor
    residual: Tensor
    converged: Tensor
    iterations: Tensor


def monotone_root(
    function: Increasing, target: Tensor, low: float | Tensor, high: float | Tensor, *, max_iter: int = 100
) -> Root:
    """Return u in [low, high] with g(u) = ``target``, for g(low) ≤ target ≤ g(high).

    The bracket is one for all elements, or a tensor with one for each; it has no part in the gradient.
    An element that ``max_iter`` evaluations do not bring to a rounding is said not to have converged; its
    value is the best that was found.

    >>> def cube(u):
    ...     return u**3, (3 * u**2).log()
    >>> monotone_root(cube, torch.tensor([8.0]), 0.5, 10.0).value
    tensor([2.])
    """
    below, above = _edge(low, target), _edge(high, target)
    with torch.no_grad():
        start, converged, iterations = _search(function, target.detach(), below, above, max_iter)
    u = start
    for _ in range(2):
        value, log_slope = function(u)
        u = u - (value - target) / log_slope.exp()
        # Where g is flat to the last bit a step may leave the bracket; it may not leave it for good.
        u = u + (u.detach().clamp(below, above) - u.detach())
    value, log_slope = function(u)
    return Root(u, log_slope, (value - target).detach().abs(), converged, iterations)


def _edge(bound: float | Tensor, target: Tensor) -> Tensor:
    return bound.detach() if isinstance(bound, Tensor) else torch.full_like(target, bound).detach()


def _search(
    function: Increasing, target: Tensor, below: Tensor, above: Tensor, max_iter: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the root to a rounding, whether it was reached, and after how many evaluations."""
    eps = torch.finfo(target.dtype).eps

    def step(
        count: Tensor, u: Tensor, size: Tensor, below: Tensor, above: Tensor, done: Tensor, taken: Tensor
    ) -> tuple[Tensor, ...]:
        value, log_slope = function(u)
        excess = value - target
        below = torch.where(excess < 0, u, below)
        above = torch.where(excess > 0, u, above)
        move = excess / log_slope.exp()
        newton = u - move
        inside = (newton > below) & (newton < above) & (2 * move.abs() <= size.abs())
        proposal = torch.where(inside, newton, below + (above - below) / 2)
        moved = (proposal - u).abs()
        taken = taken + torch.where(done, 0.0, 1.0)
        rounding = 2 * eps * u.abs().clamp(min=1.0)
        reached = (excess == 0) | (moved <= rounding) | (above - below <= rounding)
        u = torch.where(done | (excess == 0), u, proposal)
        size = torch.where(done, size, moved)
        return count + 1, u, size, below, above, done | reached, taken

    def unfinished(count: Tensor, *state: Tensor) -> Tensor:
        return (count < max_iter) & ~state[4].all()

    state = (
        torch.zeros((), dtype=torch.long, device=target.device),
        torch.minimum(torch.maximum(target, below), above),  # laws start near the identity
        above - below,
        below.clone(),
        above.clone(),
        target.isnan(),
        torch.zeros_like(target),
    )
    if torch.compiler.is_compiling():
        state = while_loop(unfinished, step, state)  # one evaluation of g in the graph, not a hundred
    else:
        for _ in range(max_iter):
            state = step(*state)
            if certain(state[5]):
                break
    _, u, _, _, _, done, taken = state
    return u, done & ~target.isnan(), taken


def certain(done: Tensor) -> bool:
    """Return whether all are known to have arrived, a whole vmapped batch; a graph cannot be asked."""
    if torch.compiler.is_compiling():
        return False
    functorch: Any = torch._C._functorch  # pyright: ignore
    while functorch.is_functorch_wrapped_tensor(done):
        done = functorch.get_unwrapped(done)
    return bool(done.all())
