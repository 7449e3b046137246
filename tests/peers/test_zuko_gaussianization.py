"""GF beside zuko 1.6, with its weights."""

import math

import pytest
import torch
import zuko

from diffeo.bijections import Chain, Coupling, Mask, Orthogonal
from diffeo.bijections.pointwise import Pointwise
from diffeo.conditioners import MLP
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.laws import Gaussianization, Inverted

from .copying import Converted, shaken, unbounded
from .zuko_copies import compare, rows


class Shrunk(Pointwise):
    """What zuko does to the distribution function, u ↦ (1 − δ) u around ½, seen through the probit."""

    delta = 1e-6

    def curve_back(self, x):
        z = 2**0.5 * torch.erfinv((1 - self.delta) * torch.erf(x / 2**0.5))
        return z, math.log1p(-self.delta) + (z.square() - x.square()) / 2

    def curve(self, z):
        x = 2**0.5 * torch.erfinv(torch.erf(z / 2**0.5) / (1 - self.delta))
        return x, -math.log1p(-self.delta) + (x.square() - z.square()) / 2


def turns_of(rotation):
    """Return the turns of :class:`Orthogonal` that make this rotation, one column after another."""
    left, features = rotation.clone(), len(rotation)
    turns = torch.zeros(features - 1, features, dtype=rotation.dtype)
    for k in range(features - 1):
        turns[k, k + 1 :] = -left[k + 1 :, k] / (1 + left[k, k])
        one = Orthogonal(features, features - 1).double()
        one.turns.data.zero_()[k] = turns[k]
        left = one.matrix().detach().T @ left
    return turns


@torch.no_grad()
def gaussianization(peer, features, context, components, shrunk):
    """Return our flow with the weights of zuko's GF."""

    def convert(theta):  # [shift, scale]: Φ(exp(scale) u + shift)
        shift, scale = theta[..., :components], theta[..., components:]
        return torch.cat([unbounded(-shift * (-scale).exp(), 40.0), unbounded(-scale, 5.0)], -1)

    law = Inverted(
        Converted(Gaussianization(components, 40.0, 5.0, min_slope=0.0), 2 * components, convert)
    )
    layers = []
    for transform in peer.transform.transforms:
        if hasattr(transform, "A"):
            if features == 1:
                continue  # a rotation of one feature is 1
            layers.append(Orthogonal(features, features - 1).double())
            layers[-1].turns.copy_(turns_of(transform().R.T))
            continue
        kernels = MLP(0, features, law.n_params, hidden=(8,), activation="relu", context=context).double()
        if context:
            ours = [layer for layer in kernels.layers if hasattr(layer, "weight")]
            theirs = [layer for layer in transform.hyper if hasattr(layer, "weight")]
            for mine, layer in zip(ours, theirs, strict=True):
                mine.weight.copy_(layer.weight)
                mine.bias.copy_(layer.bias)
        else:
            kernels.free.copy_(torch.cat(list(transform.phi), -1).flatten())
        layers.append(Coupling(law, kernels, Mask.given([False] * features)))
        if shrunk:
            layers.append(Shrunk())
    return Flow(StandardNormal(features), Chain(*layers[::-1])).double().eval()


@pytest.mark.parametrize(("features", "context"), [(1, 0), (2, 0), (3, 0), (3, 2)])
@torch.no_grad()
def test_gf_is_that_of_zuko_but_for_its_millionth(features, context):
    options = {"hidden_features": (8,)} if context else {}
    peer = shaken(zuko.flows.GF(features, context, transforms=3, components=4, **options), 0.5)
    x, c = rows(features, context, spread=1.0)
    compare(gaussianization(peer, features, context, 4, shrunk=True), peer, x, c)
    # Without it the two differ by the millionth, which the probit magnifies far out.
    own = gaussianization(peer, features, context, 4, shrunk=False)
    near = (own.encode(x, c).abs() < 1.0).all(-1)
    torch.testing.assert_close(own.log_prob(x, c)[near], peer(c).log_prob(x)[near], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_mass_of_gf_is_one_and_zukos_a_millionth_less():
    """Zuko's noise ends at ±4.89, where its δ leaves nothing: so do its samples."""
    peer = shaken(zuko.flows.GF(1, transforms=1, components=4))
    own = gaussianization(peer, 1, 0, 4, shrunk=False)
    x = torch.linspace(-30, 30, 60001, dtype=torch.float64).unsqueeze(-1)
    missing = [1 - float(log_prob(x).exp().sum()) * 1e-3 for log_prob in (own.log_prob, peer().log_prob)]
    assert missing[0] == pytest.approx(0.0, abs=1e-9)
    assert missing[1] == pytest.approx(1e-6, rel=1e-2)
