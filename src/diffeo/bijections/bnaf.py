"""The block neural autoregressive flow: a triangular network that increases in each feature."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from diffeo.bijections.pattern import Pattern, lower
from diffeo.bijections.solved import Passed, Solved, Steering
from diffeo.conditioners.conditioner import hidden_sizes
from diffeo.errors import ConfigError
from diffeo.kernels.roots import Root, monotone_root
from diffeo.kernels.safe import CONDITIONER_LIMIT, bounded, conditioner_input
from diffeo.kernels.solve import SolveInfo
from diffeo.kernels.tiles import even_linear
from diffeo.registry import register

#: Raw weights of the diagonal blocks, before exp, stay within ± this.
LOG_WEIGHT = 8.0

#: Logarithms of the norms of the weights' lines stay within ± this.
LOG_NORM = 4.0

#: The largest share of the network in what a feature becomes; the rest is the feature.
MOST = 0.99


class BlockLinear(nn.Module):
    """h ↦ W h + b with blocks W_ij of ``outgoing`` × ``incoming``: 0 for i < j, positive for i = j.

    W_ii = exp(8 tanh(V_ii / 8)) and W_ij = V_ij for i > j; each line is then scaled to a norm of its own,
    exp(4 tanh(g / 4)), by weight normalisation (Salimans & Kingma, 2016, equation 2).
    """

    on: Tensor
    below: Tensor

    def __init__(self, blocks: int, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.blocks = blocks
        shape = blocks * outgoing, blocks * incoming
        self.raw = nn.Parameter(nn.init.normal_(torch.empty(shape), std=(blocks * incoming) ** -0.5))
        self.raw_log_norm = nn.Parameter(torch.zeros(shape[0], 1))
        self.bias = nn.Parameter(nn.init.uniform_(torch.empty(shape[0]), -1.0, 1.0))
        row = torch.arange(shape[0])[:, None] // outgoing
        column = torch.arange(shape[1]) // incoming
        self.register_buffer("on", row == column, persistent=False)
        self.register_buffer("below", row > column, persistent=False)

    def weight(self) -> Tensor:
        """Return W, (D · outgoing, D · incoming)."""
        positive = bounded(self.raw, LOG_WEIGHT).exp()
        weight = torch.where(self.on, positive, torch.where(self.below, self.raw, 0.0))
        norm = weight.square().sum(-1, keepdim=True).sqrt()
        return weight * (bounded(self.raw_log_norm, LOG_NORM).exp() / norm)

    def diagonal(self, weight: Tensor) -> Tensor:
        """Return the blocks W_ii, (D, outgoing, incoming)."""
        blocks = weight.reshape(self.blocks, -1, self.blocks, weight.shape[1] // self.blocks)
        return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)


class _Layer:
    """A block layer with its weights made, for one pass."""

    def __init__(self, layer: BlockLinear, bias: Tensor) -> None:
        self.weight, self.bias = layer.weight(), bias
        self.positive = layer.diagonal(self.weight)

    def lines(self, i: int) -> slice:
        size = self.positive.shape[1]
        return slice(i * size, (i + 1) * size)


@register("bijections.BNAF")
class BNAF(Solved):
    """z_i = (1 − α_i) x_i + α_i N_i(x_1, …, x_i), where the network N increases in x_i.

    N has block triangular weights, positive on the diagonal, and tanh between its layers; so ∂N_i/∂x_i is a
    product of positive blocks and of tanh′ > 0. The Jacobian is triangular:

        log │det ∂z/∂x│ = Σ_i log(1 − α_i + α_i ∂N_i/∂x_i).

    The gate 0 < α_i < 0.99 makes the map onto ℝᴰ, which a network of tanh alone is not, and keeps each
    slope above 0.01; so the product of blocks needs no logarithms. It starts near 0: untrained, the map is
    close to the identity. The features come in order; put a Permutation between two layers.

    ``inverse`` (x → z, the direction of the density) is one pass. ``forward`` finds feature after feature,
    each the root in one dimension of an increasing function with a bracket, so always found.

    Source: De Cao, Titov & Aziz, *Block neural autoregressive flow* (2019), section 3, with gated residual
    connections.

    Args:
        features: D.
        hidden: units for each feature, layer by layer.
        context: features of the context, which then moves the biases of the first and the last layer.
        steering: hidden widths of the network that reads the context.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> layer = BNAF(3, hidden=(8,))
    >>> x, log_det = layer(torch.ones(4, 3))
    >>> x.shape, log_det.shape
    (torch.Size([4, 3]), torch.Size([4]))
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (8, 8),
        context: int = 0,
        *,
        steering: Sequence[int] = (32,),
    ) -> None:
        super().__init__(features, context)
        widths = [1, *hidden_sizes(hidden), 1]
        if len(widths) == 2:
            raise ConfigError(
                "hidden=() makes a triangular matrix; expected at least one width, as (8, 8)."
            )
        self.layers = nn.ModuleList(BlockLinear(features, *pair) for pair in pairwise(widths))
        self.gate = nn.Parameter(torch.full((features,), -3.0))
        self.steering = Steering(context, [features * widths[1], features], steering)

    def to_noise(self, x: Tensor, context: Tensor | None) -> Passed:
        """Return z and log │det ∂z/∂x│ of rows."""
        share, h = self._share(), conditioner_input(x)
        slope = (x.abs() <= CONDITIONER_LIMIT).to(x.dtype).unsqueeze(-1)
        for k, layer in enumerate(self._made(x, context)):
            if k:
                h, slope = _bent(h, slope)
            h = even_linear(h, layer.weight) + layer.bias
            slope = _through(slope, layer.positive)
        slopes = (1 - share) + share * slope.squeeze(-1)
        return (1 - share) * x + share * h, slopes.log().sum(-1), None

    def to_data(self, z: Tensor, context: Tensor | None) -> Passed:
        """Return x, feature after feature."""
        layers, share = self._made(z, context), self._share()
        # What each layer is given: of the features that are known, and 0 for the others.
        known = [z.new_zeros(z.shape[0], layer.weight.shape[1]) for layer in layers]
        roots: list[Root] = []
        for i in range(self.features):
            block = _Block(i, layers, known, share[i])
            root = block.root(z[:, i])
            roots.append(root)
            for k, given in enumerate(block.given(root.value)):
                size = given.shape[-1]
                known[k] = torch.cat([known[k][:, : i * size], given, known[k][:, (i + 1) * size :]], -1)
        info = SolveInfo(
            torch.stack([root.converged for root in roots]).all(0),
            torch.stack([root.residual for root in roots]).amax(0),
            torch.stack([root.iterations for root in roots]).sum(0),
        )
        x = torch.stack([root.value for root in roots], -1)
        return x, -torch.stack([root.log_slope for root in roots], -1).sum(-1), info

    def pattern(self, *, inverse: bool) -> Pattern:
        """Return the triangle of an order."""
        return lower(self.features)

    def _share(self) -> Tensor:
        return MOST / (1 + (-bounded(self.gate, 30.0)).exp())

    def _made(self, x: Tensor, context: Tensor | None) -> list[_Layer]:
        by_first, by_last = self.steering(x, context)
        made: list[_Layer] = []
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, BlockLinear)
            last = k == len(self.layers) - 1
            added = by_first if k == 0 else by_last if last else 0.0
            made.append(_Layer(layer, (layer.bias + added).expand(x.shape[0], -1)))
        return made


class _Block:
    """z_i as a function of x_i alone, the features before it being known."""

    def __init__(self, i: int, layers: list[_Layer], known: list[Tensor], share: Tensor) -> None:
        self.share = share
        self.positive = [layer.positive[i] for layer in layers]
        self.rest = [
            even_linear(given, layer.weight[layer.lines(i)]) + layer.bias[:, layer.lines(i)]
            for layer, given in zip(layers, known, strict=True)
        ]

    def root(self, z: Tensor) -> Root:
        """Return the x_i at which the block is z."""
        # │tanh│ < 1, so N_i is nowhere further from its bias than its weights' sum.
        centre, reach = self.rest[-1].squeeze(-1), self.positive[-1].sum()
        low = (z - self.share * (centre + reach)) / (1 - self.share)
        high = (z - self.share * (centre - reach)) / (1 - self.share)
        return monotone_root(self.curve, z, low, high)

    def curve(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return z_i and log ∂z_i/∂x_i at x_i = u."""
        slope = (u.abs() <= CONDITIONER_LIMIT).to(u.dtype).reshape(-1, 1, 1)
        h = conditioner_input(u).unsqueeze(-1)
        for k, (positive, rest) in enumerate(zip(self.positive, self.rest, strict=True)):
            if k:
                h, slope = _bent(h, slope)
            h = even_linear(h, positive) + rest
            slope = _through(slope, positive.unsqueeze(0))
        value = (1 - self.share) * u + self.share * h.squeeze(-1)
        return value, ((1 - self.share) + self.share * slope.reshape(-1)).log()

    def given(self, u: Tensor) -> list[Tensor]:
        """Return what each layer is given of this feature, (rows, incoming)."""
        inputs = [conditioner_input(u).unsqueeze(-1)]
        for positive, rest in zip(self.positive[:-1], self.rest[:-1], strict=True):
            inputs.append(torch.tanh(even_linear(inputs[-1], positive) + rest))
        return inputs


def _bent(h: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return tanh h, and the slopes (rows, D, units) beyond it."""
    h = torch.tanh(h)
    return h, slope * (1 - h * h).unflatten(-1, slope.shape[1:])


def _through(slope: Tensor, positive: Tensor) -> Tensor:
    """Return the slopes (rows, D, incoming) beyond blocks (D, outgoing, incoming)."""
    outgoing, incoming = positive.shape[1:]
    # Whole registers, as in even_linear; and two columns at least: a product with a vector is summed in an
    # order that depends on the rows by some processors' libraries.
    more, beside = -incoming % 4, outgoing % 2
    slope, positive = nn.functional.pad(slope, (0, more)), nn.functional.pad(positive, (0, more, 0, beside))
    return (slope.transpose(0, 1) @ positive.transpose(1, 2)).transpose(0, 1)[..., :outgoing]
