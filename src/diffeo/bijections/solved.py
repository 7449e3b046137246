"""Maps with a formula from data to noise, whose other direction is solved for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.replay import Reversal
from diffeo.conditioners import MLP
from diffeo.conditioners.conditioner import widest
from diffeo.errors import at_least
from diffeo.kernels.safe import bounded, safe_limit
from diffeo.kernels.shapes import check_event, context_read, join_batch, safe_context
from diffeo.kernels.solve import SolveInfo
from diffeo.kernels.tiles import in_tiles

#: (value, log-determinant, what a search reached or None), of rows.
Passed = tuple[Tensor, Tensor, SolveInfo | None]

#: A context moves a parameter by less than this.
STEERED = 30.0


class Solved(Bijection):
    """A map of vectors with a formula for ``inverse`` (x → z, the density's) and a search for ``forward``.

    Subclasses write both for finite rows, (rows, D); hostile values and contexts, batch shapes and tiles
    are dealt with here, for all of them in one way. A row that the search did not bring to its end is NaN.
    """

    def __init__(self, features: int, context: int) -> None:
        super().__init__()
        at_least("features", features, 1)
        at_least("context", context, 0)
        self.features, self.context_features = features, context
        self.event_shape = torch.Size([features])

    def to_noise(self, x: Tensor, context: Tensor | None) -> Passed:
        """Return z and log │det ∂z/∂x│ of rows."""
        raise NotImplementedError  # abstract

    def to_data(self, z: Tensor, context: Tensor | None) -> Passed:
        """Return x and log │det ∂x/∂z│ of rows, and what the search reached."""
        raise NotImplementedError  # abstract

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x, by the search, and log │det ∂x/∂z│."""
        return self._rows(self.to_data, "z", z, context)[:2]

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z, by the formula, and log │det ∂z/∂x│."""
        return self._rows(self.to_noise, "x", x, context)[:2]

    def forward_with_info(
        self, z: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, SolveInfo]:
        """Return what ``forward`` returns, and what the search reached in each row."""
        return self._rows(self.to_data, "z", z, context)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the larger of the sizes on both sides: one is the other and a shift, which may cancel."""
        sizes = (
            super(Solved, self).rounding_scale(given, side, inverse=inverse) for side in (given, value)
        )
        return torch.maximum(*sizes)

    def breadth(self) -> int:
        """Return the units of the widest layer, for each feature: a Jacobian passes D vectors at once."""
        return self.features * widest(self)

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return that the formula is repeated, rather than searched for, and that it undoes the search."""
        return "repeated" if inverse else "undone"

    def _rows(
        self,
        passed: Callable[[Tensor, Tensor | None], Passed],
        name: str,
        value: Tensor,
        context: Tensor | None,
    ) -> tuple[Tensor, Tensor, SolveInfo]:
        check_event(name, value, self.event_shape)
        value, context = join_batch(value, context_read(context, self.context_features), 1)
        context, mark = safe_context(context)
        limit = safe_limit(value.dtype)
        calm = torch.nan_to_num(value, nan=0.0).clamp(-limit, limit)

        def rows(at: Tensor, given: Tensor | None) -> Tensor:
            moved, log_det, info = passed(at, given)
            if info is None:
                told = [torch.ones_like(log_det), torch.zeros_like(log_det), torch.zeros_like(log_det)]
            else:
                told = [info.converged.to(at.dtype), info.residual, info.iterations]
            return torch.cat([moved, torch.stack([log_det, *told], -1)], -1)

        found = in_tiles(rows, calm, context)
        moved, log_det, told = found.split([self.features, 1, 3], -1)
        told = told.detach()
        converged = told[..., 0] > 0
        lost = torch.where(value.detach().isnan().any(-1) | ~converged, torch.nan, 0.0).to(value.dtype)
        lost = lost if mark is None else lost + mark
        # Beyond the limit what a residual map adds is less than a rounding.
        moved = torch.where(value.abs() <= limit, moved, value)
        info = SolveInfo(converged & ~lost.isnan(), told[..., 1], told[..., 2].long())
        return moved + lost.unsqueeze(-1), log_det.squeeze(-1) + lost, info


class Steering(nn.Module):
    """What a context adds to the parameters of each row: nothing at the start, never above the bound."""

    def __init__(self, context: int, sizes: Sequence[int], hidden: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.network = MLP(0, sum(sizes), 1, hidden=hidden, context=context) if context else None

    def forward(self, like: Tensor, context: Tensor | None) -> list[Tensor | float]:
        """Return a tensor (rows, size) for each size, of the dtype of ``like``; 0 without a context."""
        if self.network is None:
            return [0.0 for _ in self.sizes]
        added = self.network(like[:, :0], context).squeeze(-1).to(like.dtype)
        return list(bounded(added, STEERED).split(self.sizes, -1))
