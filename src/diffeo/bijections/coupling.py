"""The general coupling layer: y₁ = x₁, y₂ = g(x₂; m(x₁, c))."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.mask import Mask
from diffeo.bijections.pattern import Pattern, passing
from diffeo.bijections.replay import Replay, Reversal, searched
from diffeo.conditioners import Conditioner
from diffeo.errors import ConfigError, a_part
from diffeo.kernels.safe import conditioner_input
from diffeo.kernels.shapes import check_event, context_read, join_batch, safe_context
from diffeo.kernels.tiles import in_tiles
from diffeo.laws import Law
from diffeo.registry import register


@register("bijections.Coupling")
class Coupling(Bijection):
    """y₁ = x₁, y₂ = g(x₂; m(x₁, c)) for any law g, any conditioner m and any mask.

    The Jacobian is triangular, so log │det J│ is the sum of the law's log-slopes, and the inverse costs
    the same as the forward direction whatever m is, since x₁ = y₁ is known both ways.

    Source: Dinh, Krueger & Bengio, *NICE* (2014), equations 2–4; Dinh, Sohl-Dickstein & Bengio,
    *Real NVP* (2017), equations 4–8.

    Args:
        law: the elementwise map g.
        conditioner: m, with ``in_features=mask.n_passed``, ``out_features=mask.n_moved`` and
            ``n_params=law.n_params``; or one that is given the whole event with the moved elements zeroed,
            as :class:`~diffeo.conditioners.ResidualCNN`, with ``event_shape`` that of the mask.
        mask: a :class:`Mask`, or booleans of the event shape, True for what is passed unchanged.

    Raises:
        ConfigError: the conditioner's sizes do not fit the mask and the law.
        ShapeError: a value does not end in the event shape.

    >>> from diffeo.conditioners import MLP
    >>> from diffeo.laws import Affine
    >>> layer = Coupling(Affine(), MLP(1, 2, n_params=2), Mask.halves(3))
    >>> x, log_det = layer(torch.ones(4, 3))
    >>> x.shape, log_det.shape
    (torch.Size([4, 3]), torch.Size([4]))
    """

    @classmethod
    def recorded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Record the mask as a named one."""
        return {**arguments, "mask": Mask.of(arguments["mask"])}

    def __init__(self, law: Law, conditioner: Conditioner, mask: Any) -> None:
        super().__init__()
        a_part("law", law, Law, "diffeo.laws.Affine()")
        a_part("conditioner", conditioner, Conditioner, "diffeo.conditioners.MLP(1, 1, n_params=2)")
        self.law, self.mask = law, Mask.of(mask)
        sizes: dict[str, tuple[Any, Any, str]] = {
            "in_features": (conditioner.in_features, self.mask.n_passed, "mask.n_passed"),
            "out_features": (conditioner.out_features, self.mask.n_moved, "mask.n_moved"),
            "n_params": (conditioner.n_params, law.n_params, "law.n_params"),
        }
        if conditioner.event_shape is not None:
            del sizes["in_features"], sizes["out_features"]
            sizes["event_shape"] = tuple(conditioner.event_shape), tuple(self.mask.shape), "mask.shape"
        for name, (given, wanted, source) in sizes.items():
            if given != wanted:
                raise ConfigError(f"conditioner has {name}={given}; expected {wanted}, which is {source}.")
        self.conditioner = conditioner
        conditioner.start_at(law.start)
        self.event_shape = torch.Size(self.mask.shape)
        self.event_ndim = len(self.event_shape)
        self.circles = (law.period, law.period)
        # argsort of the flattened mask: first the passed elements, then the moved ones, in order.
        split = torch.argsort((~self.mask.tensor()).flatten().to(torch.uint8), stable=True)
        self.register_buffer("_split", split, persistent=False)
        self.register_buffer("_join", torch.argsort(split), persistent=False)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (z₁, g(z₂; m(z₁))) and the summed log-slopes."""
        return self._apply_law(self.law.forward, z, context)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (x₁, g⁻¹(x₂; m(x₁))) and the summed log-slopes."""
        return self._apply_law(self.law.inverse, x, context)

    def pattern(self, *, inverse: bool) -> Pattern:
        """Return that what is passed is kept, and the rest depends on it and on itself."""
        return passing(self.mask.tensor().flatten().cpu().numpy())

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return that a direction is undone by the other, unless the law searches that one."""
        return "repeated" if searched(self.law, inverse=not inverse) else "undone"

    def replay(self, value: Tensor, context: Tensor | None, *, inverse: bool) -> Replay:
        """Recover the input and run the direction on it; θ is the same both ways, and computed once."""
        there, back = self.law.forward, self.law.inverse
        if inverse:
            there, back = back, there
        context = context_read(context, self.conditioner.context)
        with torch.enable_grad():
            value, context = join_batch(value, context, self.event_ndim)
            context, mark = safe_context(context)
            passed, after = self._divide(value.detach())
            passed = passed.requires_grad_()
            theta = self._steer(conditioner_input(passed), context).to(value.dtype)
            with torch.no_grad():
                moved, _ = back(after, theta)
            moved = moved.requires_grad_()
            after, log_slope = there(moved, theta)
            log_det = log_slope.sum(-1)
            if mark is not None:
                after, log_det = after + mark.unsqueeze(-1), log_det + mark

            def joined(parts: Sequence[Tensor]) -> Tensor:
                return self._unite(parts[0], parts[1])

            return Replay((passed, moved), joined((passed, after)), log_det, joined)

    def _apply_law(self, law: Any, value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        check_event("value", value, self.event_shape)
        value, context = join_batch(value, context_read(context, self.conditioner.context), self.event_ndim)
        context, mark = safe_context(context)
        passed, moved = self._divide(value)
        theta = self._steer(conditioner_input(passed), context)
        # Laws compute in the data's precision, also where a conditioner ran in a lower one.
        moved, log_slope = law(moved, theta.to(value.dtype))
        log_det = log_slope.sum(-1)
        if mark is not None:
            moved, log_det = moved + mark.unsqueeze(-1), log_det + mark
        return self._unite(passed, moved), log_det

    def _steer(self, passed: Tensor, context: Tensor | None) -> Tensor:
        # In training a conditioner may read its batch (dropout, a norm): padding is for evaluation.
        if self.conditioner.training:
            return self._theta(passed, context)
        return in_tiles(self._theta, passed, context)

    def _theta(self, passed: Tensor, context: Tensor | None) -> Tensor:
        """Return θ of the moved elements, (…, n_moved, n_params)."""
        if self.conditioner.event_shape is None:
            return self.conditioner(passed, context)
        zeros = passed.new_zeros(()).expand(*passed.shape[:-1], self.mask.n_moved)
        theta = self.conditioner(self._unite(passed, zeros), context)
        moved = self.get_buffer("_split")[self.mask.n_passed :]
        return theta.flatten(-1 - self.event_ndim, -2).index_select(-2, moved)

    def _divide(self, value: Tensor) -> tuple[Tensor, Tensor]:
        flat = value.flatten(-self.event_ndim) if self.event_ndim > 1 else value
        n = self.mask.n_passed
        if self.mask.contiguous:
            cut = math.prod(self.event_shape) - n if self.mask.flip and n else n
            first, second = flat[..., :cut], flat[..., cut:]
            return (second, first) if self.mask.flip and n else (first, second)
        flat = flat.index_select(-1, self.get_buffer("_split"))
        return flat[..., :n], flat[..., n:]

    def _unite(self, passed: Tensor, moved: Tensor) -> Tensor:
        if self.mask.contiguous:
            flip = self.mask.flip and self.mask.n_passed
            flat = torch.cat([moved, passed] if flip else [passed, moved], -1)
        else:
            flat = torch.cat([passed, moved], -1).index_select(-1, self.get_buffer("_join"))
        return flat.unflatten(-1, self.event_shape) if self.event_ndim > 1 else flat
