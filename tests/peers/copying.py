"""A peer's weights in our parts: masked networks unit by unit, and laws under the peer's parameters."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from diffeo.bijections.pointwise import Pointwise
from diffeo.conditioners import MaskedMLP, OrderedConditioner
from diffeo.laws import Law


@dataclass(frozen=True)
class Converted(Law):
    """One of our laws, steered by a peer's parameters: ``convert`` says what they are as ours."""

    law: Law
    count: int
    convert: Callable

    @property
    def n_params(self):
        return self.count

    def forward(self, u, theta):
        return self.law.forward(u, self.convert(theta))

    def inverse(self, v, theta):
        return self.law.inverse(v, self.convert(theta))

    def slope_bounds(self):
        return self.law.slope_bounds()


class WithOwn(OrderedConditioner):
    """θ = [m(x, c), w]: a conditioner's outputs, and a row w of free weights for each feature."""

    def __init__(self, inner, own):
        super().__init__()
        self.graph, self.levels = inner.graph, inner.levels
        self._sizes(inner.in_features, inner.out_features, inner.n_params + own.shape[-1], inner.context)
        self.inner, self.own = inner, torch.nn.Parameter(own.clone())

    def forward(self, x, context=None):
        theta = self.inner(x, context)
        return torch.cat([theta, self.own.expand(*theta.shape[:-1], -1)], -1)


class Softclip(Pointwise):
    """zuko's softclip, z = x / (1 + │x│ / bound), which it puts between layers that have a box."""

    def __init__(self, bound=11.0):
        super().__init__()
        self.bound = bound

    def curve_back(self, x):
        return x / (1 + x.abs() / self.bound), -2 * torch.log1p(x.abs() / self.bound)

    def curve(self, z):
        return z / (1 - z.abs() / self.bound), -2 * torch.log1p(-z.abs() / self.bound)


@torch.no_grad()
def copied(layers, features, n_params, *, context=0, order="ascending", activation="relu"):
    """Return our MaskedMLP with the weights and biases of a peer's masked layers.

    ``layers`` are (weight, bias, mask) from the first to the last, the features before the context. The
    peer gives its hidden units degrees in turn (1, 2, …, 1, 2, …), ours are sorted: unit by unit they are
    the same network in another order, if each degree has equally many units.
    """
    hidden = [len(bias) for _, bias, _ in layers[:-1]]
    own = MaskedMLP(
        features, n_params, hidden=hidden, activation=activation, context=context, order=order
    ).double()
    assert own.direct is None
    mine = [layer for layer in own.layers if hasattr(layer, "mask")]
    given = torch.arange(features + context)
    seen = torch.eye(features + context, dtype=torch.bool)
    for k, (layer, (weight, bias, mask)) in enumerate(zip(mine, layers, strict=True)):
        seen = (mask[:, :, None].bool() & seen).any(1)  # what each of the peer's units sees
        units = torch.arange(len(bias))
        if k < len(hidden):
            units = seen.sum(1).argsort(stable=True)
        assert torch.equal(mask.bool()[units][:, given], layer.mask)
        layer.weight.copy_(weight[units][:, given])
        layer.bias.copy_(bias[units])
        given = units
    return own


def unbounded(value, bound):
    """Return what :func:`diffeo.kernels.safe.bounded` takes to ``value``."""
    return bound * torch.atanh(value / bound)


@torch.no_grad()
def shaken(module, gain=1.0, seed=0):
    """Return the module in float64 and evaluation mode, its weights drawn anew, with this gain."""
    generator = torch.Generator().manual_seed(seed)
    own = module.double().eval()
    for parameter in own.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        width = parameter.shape[-1] if parameter.ndim > 1 else 4
        parameter.copy_(gain * noise / width**0.5)
    return own
