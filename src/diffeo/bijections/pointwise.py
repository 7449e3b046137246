"""What an elementwise map is: a curve and its log-slope, with the same bits in every batch."""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.kernels.tiles import in_tiles

#: A value and its log-slope, element by element.
Curve = tuple[Tensor, Tensor]


class Pointwise(Bijection):
    """xᵢ = gᵢ(zᵢ), log │det ∂x/∂z│ = Σ log gᵢ′(zᵢ); subclasses say what g and its inverse are.

    Both are given rows of flattened events, (n, elements), in whole tiles, so that any function of torch's
    gives the same bits in every batch. They keep their local derivatives finite for every input.
    """

    def curve(self, z: Tensor) -> Curve:
        """Return g(z) and log g′(z), element by element."""
        raise NotImplementedError  # abstract

    def curve_back(self, x: Tensor) -> Curve:
        """Return g⁻¹(x) and log (g⁻¹)′(x), element by element."""
        raise NotImplementedError  # abstract

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return g(z) and the summed log-slopes."""

        def both(rows: Tensor, context: None) -> Tensor:
            return torch.cat(self.curve(rows), -1)

        return self._parted(z, in_tiles(both, z.flatten(-self.event_ndim)))

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return g⁻¹(x) and the summed log-slopes."""

        def both(rows: Tensor, context: None) -> Tensor:
            return torch.cat(self.curve_back(rows), -1)

        return self._parted(x, in_tiles(both, x.flatten(-self.event_ndim)))

    def _parted(self, given: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
        size = both.shape[-1] // 2
        return both[..., :size].reshape(given.shape), both[..., size:].sum(-1)
