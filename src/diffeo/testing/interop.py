"""Interop: a flow as a torch.distributions.Distribution, a bijection as a Transform, as Pyro uses them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributions as td

from diffeo.bijections.rounding import TRUST, predicted_error
from diffeo.diagnostics.checks.subject import check
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow


@check("torch.distributions")
@torch.no_grad()
def torch_distributions(
    flow: Flow, x: Tensor, context: Tensor | None = None, *, predicted: Tensor | None = None
) -> Figure:
    """Count broken rules of ``flow.distribution(context)`` and ``bijection.as_transform(context)``.

    Shapes are batch_shape = the context's batch, sample = sample_shape + batch_shape + event_shape; samples
    lie in the support; a value outside it has density zero; TransformedDistribution(base, transform) has
    the flow's density. ``predicted``, if it is known already, is what
    :func:`~diffeo.bijections.rounding.predicted_error` says of x.

    >>> from diffeo.flows import NICE
    >>> torch_distributions(NICE(2, couplings=2, hidden=(8,)), torch.ones(4, 2)).ok
    True
    """
    p = flow.distribution(context)
    batch = torch.Size() if context is None else context.shape[:-1]
    event = flow.event_shape
    draws = p.sample(torch.Size([5]))
    reals = flow.bijection.as_transform(context)
    noise = flow.base.sample(tuple(x.shape[: x.ndim - len(event)]), context)
    moved = reals(noise)
    rules = {
        "batch_shape is the context's": p.batch_shape == batch,
        "event_shape is the flow's": p.event_shape == event,
        "sample has shape sample_shape + batch_shape + event_shape": draws.shape == (5, *batch, *event),
        "rsample has the same": p.rsample(torch.Size([5])).shape == draws.shape,
        "log_prob has shape sample_shape + batch_shape": p.log_prob(draws).shape == (5, *batch),
        "samples are in the support": bool(p.support.check(draws).all()),
        "log_prob is the flow's": torch.equal(p.log_prob(x), flow.log_prob(x, context)),
        "the transform's forward is the bijection's": torch.equal(moved, flow.bijection(noise, context)[0]),
        "its log_abs_det_jacobian is the bijection's": torch.equal(
            reals.log_abs_det_jacobian(noise, moved), flow.bijection(noise, context)[1]
        ),
        "its inverse has the negative one": torch.equal(
            reals.inv.log_abs_det_jacobian(moved, noise), -reals.log_abs_det_jacobian(noise, moved)
        ),
    }
    wide = p.expand((4, *batch))
    rules["expand widens batch_shape"] = wide.batch_shape == (4, *batch)
    rules["samples of the expanded have it"] = wide.sample().shape == (4, *batch, *event)
    rules["log_prob of the expanded has it"] = wide.log_prob(draws[0]).shape == (4, *batch)
    if context is None or context.ndim == 1:
        normal = td.Independent(td.Normal(torch.zeros(event, dtype=x.dtype), 1.0), len(event))
        law = td.TransformedDistribution(normal, [reals], validate_args=False)
        z, log_det = flow.bijection.inverse(x, context)
        wanted = normal.log_prob(torch.nan_to_num(z)) + log_det
        # torch takes the determinant at f(f⁻¹(x)), which must be x: only rows that come back are compared.
        if predicted is None:
            predicted = predicted_error(flow.bijection, x, context, inverse=True)
        back = predicted < TRUST
        rules["TransformedDistribution has its density"] = torch.allclose(
            law.log_prob(x)[back], wanted[back], rtol=1e-4, atol=1e-4
        )
    broken = [rule for rule, kept in rules.items() if not kept]
    return Figure(
        "torch.distributions",
        worst=float(len(broken)),
        limit=0.0,
        tested=len(rules),
        failed=len(broken),
        detail=f"not so: {'; '.join(broken)}" if broken else "",
    )
