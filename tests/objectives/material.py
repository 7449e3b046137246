"""Normal flows whose every divergence has a closed form, and gradients of estimators."""

import torch

from diffeo.bijections import Affine
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.objectives import Batch

DTYPE = torch.float64
NOTHING = Batch(torch.zeros(2, 1, dtype=DTYPE))


def normal_flow(loc, scale):
    """Return N(loc, scale²) as a flow in float64."""
    loc, scale = (torch.as_tensor(value, dtype=DTYPE).reshape(-1) for value in (loc, scale))
    layer = Affine(len(loc))
    flow = Flow(StandardNormal(len(loc)), layer).double()
    with torch.no_grad():
        layer.shift.copy_(loc)
        layer.raw_log_scale.copy_(layer.bound * torch.atanh(scale.log() / layer.bound))
    return flow


def normal_log_density(loc, scale, log_z=0.0):
    """Return log p̃ = log Z + log N(x; loc, scale²)."""
    p = torch.distributions.Normal(torch.as_tensor(loc, dtype=DTYPE), torch.as_tensor(scale, dtype=DTYPE))

    def log_density(x):
        return p.log_prob(x).sum(-1) + log_z

    return log_density


def gradient_of(loss, flow):
    """Return the gradient of a scalar in all parameters, flat."""
    found = torch.autograd.grad(loss, list(flow.parameters()))
    return torch.cat([g.flatten() for g in found]).detach()


def averaged(objective, flow, batch, repeats):
    """Return the mean and its standard error of value and gradient (first the value)."""
    rows = []
    for _ in range(repeats):
        loss = objective.loss(flow, batch)
        rows.append(torch.cat([loss.detach().reshape(1), gradient_of(loss, flow)]))
    rows = torch.stack(rows)
    return rows.mean(0), rows.std(0) / repeats**0.5


def exact_gradient(function, flow):
    """Return value and gradient of function(loc, scale) in the parameters of a normal flow."""
    layer = flow.bijection
    log_scale, shift = layer.scale_and_shift()
    value = function(shift, log_scale.exp())
    return torch.cat([value.detach().reshape(1), gradient_of(value, flow)])


def agrees(mean, error, exact, sigmas=4.5):
    """Return whether every mean is within so many standard errors of the exact value."""
    return bool(((mean - exact).abs() <= sigmas * error + 1e-12).all())
