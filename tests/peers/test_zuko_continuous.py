"""Continuous flows beside zuko 1.6's CNF, with its own network as the velocity.

Behind our layer stands zuko's network as it is, a perceptron of [cos kπt, sin kπt, x, c], its trace by
autograd. What then differs: zuko's flow goes from data at t = 0 to noise at t = 1, ours from noise to data,
so our velocity is −f(1 − t, x); zuko takes one step size for the batch, and relaxes the tolerance of the
log-determinant a hundredfold (``trace_scale``). Both are asked for tolerances of 1e-9, and its ELU, whose
second derivative jumps and holds up solvers of the log-determinant, is replaced by SiLU.
"""

import pytest
import torch
from zuko.flows import CNF

from diffeo.bijections import Continuous
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow


class ZukosVelocity(torch.nn.Module):
    """−f(1 − t, x, c) with zuko's f, and its divergence by autograd."""

    def __init__(self, transform):
        super().__init__()
        self.transform = transform

    def forward(self, t, x, context=None):
        return -self.transform.f(1 - t[:, 0], x, context)

    def with_divergence(self, t, x, context, directions):
        def of_row(t, x, context):
            return -self.transform.f(1 - t, x, context)

        dims = (0, 0, None if context is None else 0)
        slopes = torch.vmap(torch.func.jacrev(of_row, argnums=1), in_dims=dims)(t[:, 0], x, context)
        pushed = directions @ slopes.transpose(-1, -2)
        return self(t, x, context), (pushed * directions).sum((-1, -2))


@pytest.mark.parametrize(("features", "context"), [(1, 0), (3, 2)])
def test_densities_and_samples_are_those_of_zuko(features, context):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        peer = (
            CNF(features, context, atol=1e-9, rtol=1e-9, hidden_features=(16, 16), activation=torch.nn.SiLU)
            .double()
            .eval()
        )
    for parameter in peer.parameters():
        parameter.data.mul_(1.5)
    layer = Continuous(features, context=context, rtol=1e-9, atol=1e-9).double().eval()
    layer.velocity = ZukosVelocity(peer.transform)
    own = Flow(StandardNormal(features).double(), layer)

    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(8, features, generator=generator, dtype=torch.float64)
    given = torch.randn(8, context, generator=generator, dtype=torch.float64) if context else None
    with torch.no_grad():
        wanted = peer(given)
        torch.testing.assert_close(own.log_prob(x, given), wanted.log_prob(x), rtol=1e-6, atol=1e-6)
        z = own.encode(x, given)
        torch.testing.assert_close(z, wanted.transform(x), rtol=1e-7, atol=1e-7)
        # The same noise gives the same samples.
        moved = wanted.transform.inv(z)
        torch.testing.assert_close(own.decode(z, given), moved, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(moved, x, rtol=1e-7, atol=1e-7)
    assert (z - x).abs().max() > 0.05


def test_gradients_are_those_of_zukos_adjoint():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        peer = CNF(2, atol=1e-9, rtol=1e-9, hidden_features=(8,), activation=torch.nn.SiLU).double()
    layer = Continuous(2, rtol=1e-9, atol=1e-9).double()
    layer.velocity = ZukosVelocity(peer.transform)
    own = Flow(StandardNormal(2).double(), layer)
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parameters = list(peer.parameters())
    wanted = torch.autograd.grad(peer().log_prob(x).mean(), parameters)
    found = torch.autograd.grad(own.log_prob(x).mean(), parameters)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
