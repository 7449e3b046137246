"""Residuals of a mixture of flows: standard normal where it is right, although its members' noise is not.

The noise of one member is standard normal for the rows that this member drew, not for all rows. So a
member, of a member a flow, and of a base of several normals a component, are drawn for each row by how
likely they are to have drawn it:

    P(m | x) = w_m p_m(x) / p(x),   z = f_m⁻¹(x).

If x follows p, then (m, x) follows w_m p_m(x), and z ~ N(0, I) for each m.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.distributions import FullMixture
from diffeo.estimator.members import Members
from diffeo.estimator.training import PART
from diffeo.estimator.views import seen
from diffeo.flows import Flow

Array = NDArray[np.float64]

#: Numbers that the responsibilities of components may take at a time.
_ROOM = 2**23


@torch.no_grad()
def residuals(members: Members, x: Array, seed: int, context: Array | None = None) -> Array:
    """Return z, (rows, columns), for rows of finite numbers.

    Args:
        members: the mixture.
        x: rows, in the mixture's units.
        seed: of the members and components that are drawn.
        context: contexts of the rows.
    """
    given = members.standard_context(context, len(x))
    draws = np.random.default_rng(seed)
    z = np.empty(x.shape)
    for start in range(0, len(x), PART):
        part = slice(start, start + PART)
        c = None if given is None else given[part]
        each, views = _each(members, x[part], c)
        chosen = np.argmax(np.nan_to_num(each, nan=-np.inf) + draws.gumbel(size=each.shape), 1)
        for k in range(len(members.flows)):
            mine = np.flatnonzero(chosen == k)
            if len(mine):
                own = None if c is None else c[torch.from_numpy(mine)]
                z[start + mine] = _noise(members.flow(k), views[members.view_of[k]][mine], own, draws)
    return z


def _each(members: Members, x: Array, context: Tensor | None) -> tuple[Array, list[Array]]:
    """Return log of weight times density of each flow, (rows, flows), and the rows in each view."""
    weights = np.asarray(members.weights) / np.sum(members.weights)
    each, views = np.empty((len(x), len(members.flows))), list[Array]()
    moved: list[Array] = []
    for place in range(len(members.views)):
        u, log_det = seen(members.view(members.view_of.index(place)), x)
        views.append(u)
        moved.append(log_det)
    for k, member in enumerate(members.member_of):
        flow, place = members.flow(k), members.view_of[k]
        rows = torch.from_numpy(views[place]).to(flow.dtype)
        c = None if context is None else context.to(flow.dtype)
        share = np.log(weights[member] / len(members.flows_of(member)))
        each[:, k] = flow.log_prob(rows, c).double().numpy() + moved[place] + share
    return each, views


def _noise(flow: Flow, u: Array, context: Tensor | None, draws: np.random.Generator) -> Array:
    """Return standard normal noise of the rows that a flow drew."""
    c = None if context is None else context.to(flow.dtype)
    z = flow.encode(torch.from_numpy(u).to(flow.dtype), c).double()
    base = flow.base
    if not isinstance(base, FullMixture):
        return z.numpy()
    if context is not None and base.context_features:
        z = z - context.double() @ base.get_buffer("slope").double().T
    loc, factors = base.get_buffer("loc").double(), base.factors()
    found = np.empty(z.shape)
    size = max(1, _ROOM // (len(loc) * (1 if base.shared else z.shape[1])))
    for start in range(0, len(z), size):
        part = z[start : start + size]
        log_p = base.terms(part).numpy()
        chosen = torch.from_numpy(np.argmax(log_p + draws.gumbel(size=log_p.shape), 1))
        own = factors[chosen] if len(factors) > 1 else factors.expand(len(part), -1, -1)
        found[start : start + size] = torch.einsum("nij,nj->ni", own, part - loc[chosen]).numpy()
    return found
