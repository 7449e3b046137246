"""The continuous flow: x(1) of dx/dt = v(t, x, c) from x(0) = z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.replay import Reversal
from diffeo.conditioners.velocity import Velocity
from diffeo.errors import at_least, number, one_of
from diffeo.kernels.safe import safe_limit
from diffeo.kernels.shapes import check_event, context_read, join_batch, safe_context
from diffeo.kernels.solvers import Field, Solution, dopri5, finest, rk4
from diffeo.kernels.tiles import in_tiles
from diffeo.registry import register


class SolverInfo(NamedTuple):
    """What a solve of a differential equation took, for each row.

    Attributes:
        evaluations: how often the row needed its velocity.
        finished: whether it arrived; the value of a row that did not is NaN.
    """

    evaluations: Tensor
    finished: Tensor


@register("bijections.Continuous")
class Continuous(Bijection):
    """x = x(1) where dx/dt = v(t, x, c), x(0) = z: a flow in continuous time.

        log │det ∂x/∂z│ = ∫₀¹ tr ∂v/∂x(t, x(t), c) dt

    is integrated in the same solve as the value; the inverse integrates from t = 1 back to 0. The network
    v (:class:`~diffeo.conditioners.velocity.Velocity`) is any function, and starts at 0: untrained, the map
    is the identity, exactly.

    Both are as exact as the solver, not as a rounding: with "dopri5" about ``rtol``, which
    :func:`~diffeo.bijections.rounding.predicted_error` knows; with "rk4" O(steps⁻⁴), which nothing checks.
    In float64, ``rtol=atol=1e-10`` agrees with autograd's determinant to about that. Each row has steps of
    its own (:mod:`diffeo.kernels.solvers`), so that a hostile or stiff row changes no other and no solve
    goes on for ever: a row that needs more than ``max_steps`` is NaN. :meth:`forward_with_info` and
    :meth:`inverse_with_info` say so, and how many evaluations of v each row took.

    Source: Chen, Rubanova, Bettencourt & Duvenaud, *Neural ordinary differential equations* (2018),
    theorem 1; Grathwohl, Chen, Bettencourt, Sutskever & Duvenaud, *FFJORD* (2019), sections 3.1–3.2.

    Args:
        features: D.
        hidden: hidden widths of v.
        context: features of the context.
        solver: "dopri5" (adaptive, each row for itself) or "rk4" (a fixed grid: it compiles to one graph).
        steps: of "rk4"; each takes four evaluations of v.
        rtol, atol: relative and absolute tolerance of a step of "dopri5", no finer than eight roundings.
        max_steps: steps of "dopri5" after which a row is given up.
        trace: "exact" takes D Jacobian-vector products an evaluation. "hutchinson" takes one in training:
            tr J ≈ eᵀ J e, e a vector of random signs, drawn anew for each row and solve from torch's
            generator, as dropout is; log_prob is then an unbiased estimate, with unbiased gradients. In
            evaluation it is exact all the same, so that log_prob is a density.
        activation: of v: "tanh", "softplus" or "silu".
        trained_by: what :func:`diffeo.fit` minimises if it is not told: "likelihood", or "matching"
            (:class:`diffeo.objectives.FlowMatching`), which needs no solve.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> layer = Continuous(2, hidden=(16,))
    >>> x, log_det = layer(torch.ones(3, 2))
    >>> x.tolist() == torch.ones(3, 2).tolist(), log_det.tolist()
    (True, [0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (64, 64),
        context: int = 0,
        *,
        solver: str = "dopri5",
        steps: int = 32,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_steps: int = 1000,
        trace: str = "exact",
        activation: str = "tanh",
        trained_by: str = "likelihood",
    ) -> None:
        super().__init__()
        one_of("solver", solver, ("dopri5", "rk4"))
        one_of("trace", trace, ("exact", "hutchinson"))
        one_of("trained_by", trained_by, ("likelihood", "matching"))
        at_least("steps", steps, 1)
        at_least("max_steps", max_steps, 1)
        number("rtol", rtol, above=0)
        number("atol", atol, above=0)
        self.velocity = Velocity(features, hidden, context, activation)
        self.event_shape = torch.Size([features])
        self.context_features = context
        self.solver, self.steps, self.max_steps = solver, steps, max_steps
        self.rtol, self.atol = rtol, atol
        self.trace, self.trained_by = trace, trained_by

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x(1) and the integral of the divergence."""
        return self._solve(z, context, "z", inverse=False)[:2]

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x(0) and minus the integral of the divergence."""
        return self._solve(x, context, "x", inverse=True)[:2]

    def forward_with_info(
        self, z: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, SolverInfo]:
        """Return what ``forward`` returns, and what the solve took."""
        return self._solve(z, context, "z", inverse=False)

    def inverse_with_info(
        self, x: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, SolverInfo]:
        """Return what ``inverse`` returns, and what the solve took."""
        return self._solve(x, context, "x", inverse=True)

    def solving_error(self, value: Tensor, dtype: torch.dtype, *, inverse: bool) -> Tensor | float:
        """Return the tolerance of a step at ``value``; 0 for "rk4", which has none."""
        if self.solver == "rk4":
            return 0.0
        least = finest(dtype)
        return max(self.atol, least) + max(self.rtol, least) * value.abs()

    def breadth(self) -> int:
        """Return the units of the widest layer, for each feature: the trace passes it D vectors at once."""
        return self.event_shape.numel() * max(self.velocity.widths)

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return that a solve is repeated: one back would have an error of its own."""
        return "repeated"

    def _solve(
        self, value: Tensor, context: Tensor | None, name: str, *, inverse: bool
    ) -> tuple[Tensor, Tensor, SolverInfo]:
        check_event(name, value, self.event_shape)
        value, context = join_batch(value, context_read(context, self.context_features), 1)
        context, mark = safe_context(context)
        limit = safe_limit(value.dtype)
        calm = torch.nan_to_num(value, nan=0.0).clamp(-limit, limit)

        def rows(start: Tensor, given: Tensor | None) -> Tensor:
            at = torch.cat([start, torch.zeros_like(start[:, :1])], -1)
            solution = self._integrated(self._field(given, self._directions(start), inverse), at)
            told = torch.stack([solution.evaluations, solution.finished.to(start.dtype)], -1)
            return torch.cat([solution.value, told], -1)

        found = in_tiles(rows, calm, context)
        moved, log_det, told = found.split([value.shape[-1], 1, 2], -1)
        finished = told[..., 1] > 0
        lost = torch.where(value.detach().isnan().any(-1) | ~finished, torch.nan, 0.0).to(value.dtype)
        lost = lost if mark is None else lost + mark
        # So far out, what v adds is less than a rounding.
        moved = torch.where(value.abs() <= limit, moved, value)
        info = SolverInfo(told[..., 0].detach().long(), finished & ~lost.isnan())
        return moved + lost.unsqueeze(-1), log_det.squeeze(-1) + lost, info

    def _field(self, context: Tensor | None, directions: Tensor, inverse: bool) -> Field:
        """Return the velocity of (x, log-determinant), in s = t or, going back, in s = 1 − t."""

        def field(s: Tensor, y: Tensor) -> Tensor:
            t = 1.0 - s if inverse else s
            v, divergence = self.velocity.with_divergence(t, y[:, :-1], context, directions)
            rate = torch.cat([v, divergence.unsqueeze(-1)], -1)
            return -rate if inverse else rate

        return field

    def _integrated(self, field: Field, start: Tensor) -> Solution:
        if self.solver == "rk4":
            return rk4(field, start, self.steps)
        return dopri5(field, start, self.rtol, self.atol, self.max_steps)

    def _directions(self, rows: Tensor) -> Tensor:
        """Return the vectors that the trace is taken along, (rows, n, D)."""
        if self.trace == "hutchinson" and self.training:
            return torch.randint(2, rows.shape, device=rows.device).to(rows.dtype).unsqueeze(1) * 2.0 - 1.0
        eye = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
        return eye.expand(rows.shape[0], *eye.shape)
