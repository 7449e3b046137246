"""The members of a mixture of densities, and their weights: one model, that one file can hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffeo.bijections import Bijection
from diffeo.errors import ConfigError, ShapeError
from diffeo.estimator.training import PART
from diffeo.estimator.views import seen, shown
from diffeo.estimator.weights import mixed
from diffeo.flows import Flow
from diffeo.registry import Part, register

Array = NDArray[np.float64]


@register("estimator.Members")
class Members(Part, nn.Module):
    """p(x | c) = Σₘ wₘ · mean over a member's flows of p(u | c) │det ∂u/∂x│, u being x in the flow's view.

    A member of several flows is one whose folds were trained apart. Views are computed in float64, flows
    each in its own dtype; contexts are standardised by the two buffers first.

    Args:
        views: coordinates of x, in float64.
        flows: densities of u, all flows of all members.
        view_of: the view of each flow, as its place in ``views``.
        member_of: the member of each flow, from 0 on.
        weights: of the members.
        names: of the members.
        context: features of the context.

    Raises:
        ConfigError: the lists do not fit one another.
    """

    def __init__(
        self,
        views: Sequence[Bijection],
        flows: Sequence[Flow],
        view_of: Sequence[int],
        member_of: Sequence[int],
        weights: Sequence[float],
        names: Sequence[str],
        context: int = 0,
    ) -> None:
        super().__init__()
        fits = len(flows) == len(view_of) == len(member_of) > 0 and len(weights) == len(names)
        if not fits or set(member_of) != set(range(len(weights))) or not min(view_of) >= 0:
            raise ConfigError(
                f"{len(flows)} flows of view_of={list(view_of)!r:.80}, member_of={list(member_of)!r:.80}, "
                f"{len(weights)} weights and {len(names)} names do not fit; expected a view and a member "
                "for each flow, and a weight and a name for each member."
            )
        if max(view_of) >= len(views) or min(weights) <= 0 or not np.isfinite(weights).all():
            raise ConfigError(
                f"view_of={list(view_of)!r:.80} and weights={list(weights)!r:.80}; expected places in the "
                f"{len(views)} views, and numbers above 0."
            )
        self.views, self.flows = nn.ModuleList(views), nn.ModuleList(flows)
        self.view_of, self.member_of = list(view_of), list(member_of)
        self.weights, self.names, self.context = list(weights), list(names), context
        self.register_buffer("context_loc", torch.zeros(context, dtype=torch.float64))
        self.register_buffer("context_scale", torch.ones(context, dtype=torch.float64))

    @property
    def columns(self) -> int:
        """Return the number of columns."""
        return self.flow(0).event_shape[0]

    def flow(self, k: int) -> Flow:
        """Return the flow at place ``k``."""
        flow = self.flows[k]
        assert isinstance(flow, Flow)
        return flow

    def view(self, k: int) -> Bijection:
        """Return the view of the flow at place ``k``."""
        view = self.views[self.view_of[k]]
        assert isinstance(view, Bijection)
        return view

    def flows_of(self, member: int) -> list[int]:
        """Return the places of a member's flows."""
        return [k for k, m in enumerate(self.member_of) if m == member]

    def standard_context(self, context: Array | None, rows: int) -> Tensor | None:
        """Return contexts as flows read them, in float64, one for each row."""
        if not self.context:
            if context is not None and np.shape(context)[-1] != 0:
                raise ShapeError("context was given to a density without one; expected none: leave it out.")
            return None
        if context is None or np.shape(context) != (rows, self.context):
            given = "none" if context is None else f"shape {np.shape(context)}"
            raise ShapeError(
                f"context has {given}; expected ({rows}, {self.context}): pass one row for each row."
            )
        c = torch.from_numpy(np.ascontiguousarray(context, dtype=np.float64))
        return (c - self.get_buffer("context_loc")) / self.get_buffer("context_scale")

    def log_probs(self, x: Array, context: Array | None = None) -> Array:
        """Return log p of each row under each member, (rows, members), in nats."""
        given = self.standard_context(context, len(x))
        found = np.full((len(x), len(self.weights)), -np.inf)
        for start in range(0, len(x), PART):
            part = slice(start, start + PART)
            c = None if given is None else given[part]
            for place in range(len(self.views)):
                own = [k for k, v in enumerate(self.view_of) if v == place]
                if not own:
                    continue
                u, log_det = seen(self.view(own[0]), x[part])
                for k in own:
                    member = self.member_of[k]
                    share = np.log(len(self.flows_of(member)))
                    one = self._scored(self.flow(k), u, c) + log_det - share
                    with np.errstate(invalid="ignore"):  # NaN stays
                        found[part, member] = np.logaddexp(found[part, member], one)
        return found

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        """Return log p of each row, in nats."""
        return mixed(self.log_probs(x, context), np.asarray(self.weights) / np.sum(self.weights))

    def sample(self, rows: int, seed: int, context: Array | None = None) -> Array:
        """Return draws, (rows, columns)."""
        given = self.standard_context(context, rows)
        draws = np.random.default_rng(seed)
        weights = np.asarray(self.weights) / np.sum(self.weights)
        member = draws.choice(len(weights), size=rows, p=weights)
        x = np.empty((rows, self.columns))
        generator = torch.Generator().manual_seed(int(draws.integers(2**62)))
        for m in range(len(weights)):
            own = self.flows_of(m)
            which = draws.integers(len(own), size=rows)
            for k, place in enumerate(own):
                index = np.flatnonzero((member == m) & (which == k))
                c = None if given is None else given[index]
                x[index] = self._drawn(place, len(index), c, generator)
        return x

    @torch.no_grad()
    def _drawn(self, place: int, rows: int, context: Tensor | None, generator: torch.Generator) -> Array:
        flow, parts = self.flow(place), list[Array]()
        for start in range(0, rows, PART // 4):
            count = min(PART // 4, rows - start)
            c = None if context is None else context[start : start + count].to(flow.dtype)
            shape = (count,) if c is None else ()
            parts.append(flow.sample(shape, c, generator=generator).double().numpy())
        u = np.concatenate(parts) if parts else np.empty((0, self.columns))
        return shown(self.view(place), u)

    @torch.no_grad()
    def _scored(self, flow: Flow, u: Array, context: Tensor | None) -> Array:
        rows = torch.from_numpy(u).to(flow.dtype)
        c = None if context is None else context.to(flow.dtype)
        return flow.log_prob(rows, c).double().numpy()

    def encode(self, place: int, x: Array, context: Array | None = None) -> Array:
        """Return the noise that the flow at ``place`` sends to x."""
        flow, c = self.flow(place), self.standard_context(context, len(x))
        u, _ = seen(self.view(place), x)
        with torch.no_grad():
            z = flow.encode(torch.from_numpy(u).to(flow.dtype), None if c is None else c.to(flow.dtype))
        return z.double().numpy()

    def decode(self, place: int, z: Array, context: Array | None = None) -> Array:
        """Return the x that the flow at ``place`` makes of noise."""
        flow, c = self.flow(place), self.standard_context(context, len(z))
        with torch.no_grad():
            noise = torch.from_numpy(np.ascontiguousarray(z, dtype=np.float64)).to(flow.dtype)
            u = flow.decode(noise, None if c is None else c.to(flow.dtype))
        return shown(self.view(place), u.double().numpy())
