"""The autoregressive layer: x_i = g(z_i; m_i(x_{<i}, c))."""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.bijections.ascent import by_levels, by_stages
from diffeo.bijections.bijection import Bijection
from diffeo.bijections.pattern import Pattern, along
from diffeo.bijections.replay import Reversal, searched
from diffeo.bijections.sweeps import by_sweeps, derivative_asked, in_blocks
from diffeo.conditioners import OrderedConditioner
from diffeo.errors import ConfigError, a_part, at_least, one_of
from diffeo.kernels.safe import conditioner_input
from diffeo.kernels.shapes import check_event, context_read, join_batch, safe_context
from diffeo.kernels.solve import SolveInfo
from diffeo.kernels.tiles import in_tiles
from diffeo.laws import Law
from diffeo.registry import register

#: Levels above which sweeps take the place of a pass for each, for a conditioner that has no other.
WIDE = 256

#: Blocks of levels that "gauss-seidel" takes in turn.
BLOCKS = 8

_SWEEPS = ("jacobi", "gauss-seidel")


@register("bijections.Autoregressive")
class Autoregressive(Bijection):
    """x_i = g(z_i; m_i(x_{<i}, c)) for any law g and any ordered conditioner m.

    The Jacobian is triangular in the order of the conditioner, so log │det J│ is the sum of the law's
    log-slopes. ``inverse`` (x → z, the direction of the density) takes one pass of the conditioner;
    ``forward`` goes up the levels of its graph, D of them for an order, as ``inverse_method`` says.
    ``Inverse(Autoregressive(…))`` is the layer of IAF, with the costs exchanged.

    Source: Papamakarios, Pavlakou & Murray, *Masked autoregressive flow* (2017), equations 3–5; Kingma et
    al., *Inverse autoregressive flow* (2016), equation 10.

    Args:
        law: the elementwise map g.
        conditioner: m, as :class:`~diffeo.conditioners.MaskedMLP`, with ``n_params=law.n_params``.
        inverse_method: how ``forward`` finds x. All give the same, to rounding, and the same gradients.

            - "incremental" computes each unit of the conditioner once, when all that it sees is known: the
              arithmetic of one pass. Where a conditioner has no such pass (one of your own, or one that
              drops units in training), it is "levels".
            - "levels" takes a pass of the conditioner for each level.
            - "jacobi" sets all features at once, x ← g(z; m(x)), until that changes no bit of a row: as
              many passes as there are levels at most, far fewer where dependences are weak. It has no
              derivatives: where they are asked for, in training, and in a graph, it is "levels".
            - "gauss-seidel" is "jacobi" for one eighth of the levels after another, each with all that
              those before it have become: as many passes as there are levels at most, no fewer than
              "jacobi", but each computes the law for its eighth only. For dependences so strong that
              "jacobi" takes a sweep for each level, and laws that cost, as those that search do.
            - "auto" is "incremental" for a conditioner that has such a pass; for others "levels", and
              "jacobi" above 256 levels.
        max_iter: sweeps of "jacobi" and "gauss-seidel" after which a row that still changes is NaN, as
            ``forward_with_info`` says; None for as many as there are levels, which are enough for all.

    Raises:
        ConfigError: the conditioner has no order, its sizes do not fit the law, or the method is unknown.
        ShapeError: a value does not end in (D,).

    >>> from diffeo.conditioners import MaskedMLP
    >>> from diffeo.laws import Affine
    >>> layer = Autoregressive(Affine(), MaskedMLP(3, n_params=2))
    >>> x, log_det = layer(torch.ones(4, 3))
    >>> x.shape, log_det.shape
    (torch.Size([4, 3]), torch.Size([4]))
    """

    def __init__(
        self,
        law: Law,
        conditioner: OrderedConditioner,
        inverse_method: str = "auto",
        max_iter: int | None = None,
    ) -> None:
        super().__init__()
        one_of("inverse_method", inverse_method, ("auto", "incremental", "levels", *_SWEEPS))
        if max_iter is not None:
            at_least("max_iter", max_iter, 1)
        a_part("law", law, Law, "diffeo.laws.Affine()")
        example = "diffeo.conditioners.MaskedMLP(3, n_params=2)"
        a_part("conditioner", conditioner, OrderedConditioner, example)
        if conditioner.n_params != law.n_params:
            raise ConfigError(
                f"conditioner has n_params={conditioner.n_params}; expected {law.n_params}, which is "
                "law.n_params."
            )
        self.law, self.conditioner = law, conditioner
        self.inverse_method, self.max_iter = inverse_method, max_iter
        conditioner.start_at(law.start)
        self.event_shape = torch.Size([conditioner.out_features])
        self.circles = (law.period, law.period)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x, level by level, and the summed log-slopes."""
        x, log_det, _, _ = self._ascend(z, context)
        return x, log_det

    def forward_with_info(
        self, z: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, SolveInfo]:
        """Return what ``forward`` returns, and in each row how far the image of x is from z.

        Costs the pass of ``inverse`` too. ``iterations`` are the sweeps that the row took, 0 for the other
        methods; ``converged`` is whether x, where it is not NaN, is the layer's.
        """
        x, log_det, done, taken = self._ascend(z, context)
        with torch.no_grad():
            back, _ = self.inverse(x, context)
            residual = (back - z).abs().amax(-1)
        lost = log_det.detach().isnan() | x.detach().isnan().any(-1)
        return x, log_det, SolveInfo(done & ~lost, residual, taken.long())

    def _ascend(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return x, log │det ∂x/∂z│, where rows were brought to their end, and after how many sweeps."""
        check_event("z", z, self.event_shape)
        z, context = join_batch(z, context_read(context, self.conditioner.context), 1)
        context, mark = safe_context(context)
        levels, method = self.conditioner.levels, self.inverse_method
        stages = self.conditioner.stages() if method in ("auto", "incremental") else None
        taken = torch.zeros_like(z[..., 0]).detach()
        done = taken == 0

        def steer(at: Tensor) -> Tensor:
            return self._steer(at, context)

        if stages is not None:

            def rows(noise: Tensor, given: Tensor | None) -> Tensor:
                return torch.stack(by_stages(self.law, levels, stages, noise, given), -2)

            x, slopes = in_tiles(rows, z, context).unbind(-2)
        elif self._sweeps(z, context):
            blocks = in_blocks(levels, BLOCKS if method == "gauss-seidel" else 1)
            x, slopes, done, taken = by_sweeps(self.law, steer, z, blocks, self.max_iter)
            lost = torch.where(done, 0.0, torch.nan)
            x, slopes = x + lost.unsqueeze(-1), slopes + lost.unsqueeze(-1)
        else:
            x, slopes = by_levels(self.law, levels, steer, z)
        return *_marked(x, slopes.sum(-1), mark), done, taken

    def _sweeps(self, z: Tensor, context: Tensor | None) -> bool:
        """Return whether sweeps are asked for, and are a way to go."""
        wide = self.inverse_method == "auto" and len(self.conditioner.levels) > WIDE
        if not (wide or self.inverse_method in _SWEEPS) or self.conditioner.training:
            return False
        given = [z] if context is None else [z, context]
        return not derivative_asked([*given, *self.conditioner.parameters()])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z and the summed log-slopes, in one pass."""
        check_event("x", x, self.event_shape)
        x, context = join_batch(x, context_read(context, self.conditioner.context), 1)
        context, mark = safe_context(context)
        z, log_slope = self.law.inverse(x, self._steer(x, context).to(x.dtype))
        return _marked(z, log_slope.sum(-1), mark)

    def pattern(self, *, inverse: bool) -> Pattern:
        """Return the conditioner's graph; of ``forward``, with the parents of parents."""
        return along(self.conditioner.graph, whole=not inverse)

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return that one pass undoes ``forward``, unless the law searches; ``inverse`` is repeated."""
        return "repeated" if inverse or searched(self.law, inverse=True) else "undone"

    def _steer(self, x: Tensor, context: Tensor | None) -> Tensor:
        # In training a conditioner may read its batch (dropout, a norm): padding is for evaluation.
        if self.conditioner.training:
            return self.conditioner(conditioner_input(x), context)
        return in_tiles(self.conditioner, conditioner_input(x), context)


def _marked(value: Tensor, log_det: Tensor, mark: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return both, NaN in the rows whose context is not finite."""
    return (value, log_det) if mark is None else (value + mark.unsqueeze(-1), log_det + mark)
