"""The networks of VAE and GAN: from an event to numbers, and from numbers to an event.

Events are flat here: a row of C · H · W numbers is seen as an image by the convolutional ones, which halve
its sides once for each number of channels on the way down, and double them on the way up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.errors import ConfigError, at_least, one_of

#: The slope of units below 0. Their bends are sharp: with smooth units (SiLU) draws of a GAN made a ring of
#: the eight clusters of 8gaussians, in as many steps.
_LEAK = 0.2

NETWORKS = ("auto", "mlp", "convolutional")


def check_networks(network: str, hidden: Sequence[int] | None) -> None:
    """Raise :class:`ConfigError` unless these are arguments for :func:`down` and :func:`up`."""
    one_of("network", network, NETWORKS)
    if hidden is not None and not isinstance(hidden, list | tuple):
        raise ConfigError(f"hidden={hidden!r:.60} must be a list of widths, as (128, 128), or None.")
    for k, width in enumerate(hidden or ()):
        at_least(f"hidden[{k}]", width, 1)


def down(event: Sequence[int], outputs: int, network: str, hidden: Sequence[int] | None) -> nn.Module:
    """Return a network from flat events to ``outputs`` numbers."""
    if _convolutional(event, network):
        return ConvolutionalDown(event, outputs, (32, 64) if hidden is None else hidden)
    return mlp((math.prod(event), *_widths(hidden), outputs))


def up(
    event: Sequence[int], inputs: int, network: str, hidden: Sequence[int] | None, *, each: int = 1
) -> nn.Module:
    """Return a network from ``inputs`` numbers to ``each`` numbers for every one of a flat event."""
    if _convolutional(event, network):
        channels = (32, 64) if hidden is None else hidden
        return ConvolutionalUp(event, inputs, channels[::-1], each)
    size = math.prod(event)
    return nn.Sequential(
        *mlp((inputs, *_widths(hidden)[::-1], size * each)), nn.Unflatten(-1, (size, each))
    )


def _convolutional(event: Sequence[int], network: str) -> bool:
    if network == "convolutional" and len(event) != 3:
        raise ConfigError(
            f"network='convolutional' was given rows of shape {tuple(event)}; expected images (C, H, W): "
            "reshape x, or pass network='mlp'."
        )
    return network != "mlp" and len(event) == 3


def _widths(hidden: Sequence[int] | None) -> tuple[int, ...]:
    return (128, 128) if hidden is None else tuple(hidden)


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers of these sizes, bent between them; without hidden ones it is linear."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.LeakyReLU(_LEAK)]
    return nn.Sequential(*layers[:-1])


class ConvolutionalDown(nn.Module):
    """Convolutions 3 × 3 that halve the sides, one for each number of channels; then a linear layer."""

    def __init__(self, event: Sequence[int], outputs: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.event = tuple(event)
        counts = (event[0], *channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(counts)
        )
        height, width = _halved(event, len(channels))[-1]
        self.last = nn.Linear(counts[-1] * height * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``outputs`` numbers of each flat event."""
        batch = x.shape[:-1]
        x = x.reshape(-1, *self.event)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), _LEAK)
        return self.last(x.flatten(1)).unflatten(0, batch)


class ConvolutionalUp(nn.Module):
    """A linear layer, then convolutions 3 × 3 after each doubling of the sides: no checkerboards.

    Source: Odena, Dumoulin & Olah, *Deconvolution and checkerboard artifacts* (2016).
    """

    def __init__(self, event: Sequence[int], inputs: int, channels: Sequence[int], each: int) -> None:
        super().__init__()
        self.event, self.each = tuple(event), each
        self.sizes = _halved(event, len(channels))[::-1]
        counts = (*channels, event[0] * each)
        self.first = nn.Linear(inputs, counts[0] * math.prod(self.sizes[0]))
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(counts))

    def forward(self, z: Tensor) -> Tensor:
        """Return ``each`` numbers for every one of a flat event."""
        batch = z.shape[:-1]
        x = self.first(z.reshape(-1, z.shape[-1])).unflatten(-1, (-1, *self.sizes[0]))
        for layer, size in zip(self.layers, self.sizes[1:], strict=True):
            x = layer(F.interpolate(F.leaky_relu(x, _LEAK), size=size, mode="nearest"))
        apart = x.unflatten(1, (self.event[0], self.each)).movedim(2, -1)
        return apart.reshape(*batch, math.prod(self.event), self.each)


def _halved(event: Sequence[int], times: int) -> list[tuple[int, int]]:
    """Return the sides of an image as it is halved."""
    sides = [(event[1], event[2])]
    for _ in range(times):
        height, width = sides[-1]
        sides.append((math.ceil(height / 2), math.ceil(width / 2)))
    return sides


def count_of(*modules: nn.Module) -> int:
    """Return how many numbers these modules were given to learn."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def clamped(u: Tensor) -> Tensor:
    """Return float32 numbers that no network takes to infinity."""
    return torch.nan_to_num(u, nan=0.0).clamp(-1e6, 1e6).float()
