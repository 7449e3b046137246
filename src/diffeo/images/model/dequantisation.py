"""Variational dequantisation, as a bijection: noise moved within each pixel's cell, given the image.

A noise density q(u | x) that knows the image closes the gap that uniform noise leaves:

    log P(x) ≥ E_{u ~ q} [log p(x + u) − log q(u | x)]

Let u = g(ε; x) with ε uniform on (0, 1)ᴰ and g invertible on it. Then log q(u | x) = −log │det ∂g/∂ε│, and
the bound is E_ε [log p(x + g(ε; x)) + log │det ∂g/∂ε│]: that of uniform noise for the density whose last
bijection is

    x + ε  ↦  x + g(ε; x),     x = ⌊x + ε⌋

which keeps every cell, and so every P(x), as it was. Nothing else has to know of it: the flow is trained,
scored and importance-weighted as any other.

Source: Ho, Chen, Srinivas, Duan & Abbeel, *Flow++* (2019), equations 7–8 and section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.bijections import Bijection, Chain, Coupling, Mask
from diffeo.conditioners import ResidualCNN
from diffeo.conditioners.convolutional import image_of
from diffeo.errors import at_least
from diffeo.images.model.cells import within
from diffeo.kernels.safe import sum_event
from diffeo.kernels.shapes import check_event
from diffeo.laws import Affine
from diffeo.registry import register

#: Cells beyond this are no pixels: they are left as they are.
_MOST = 2.0**20


@register("images.Dequantisation")
class Dequantisation(Bijection):
    """From data to noise: x + ε ↦ x + g(ε; x), where x = ⌊x + ε⌋ and g maps the unit cube onto itself.

    g is σ ∘ h ∘ logit, with h affine couplings on a checkerboard, in turn, whose networks see the image and
    the noise that is not moved. Untrained, it is the identity: noise is uniform. Its image is the flow's x,
    so that the layer stands last, nearest the data.

    Args:
        shape: (C, H, W).
        levels: L; the networks see x/L − ½.
        couplings: affine couplings.
        width, blocks: of each network (:class:`~diffeo.conditioners.ResidualCNN`).

    Raises:
        ConfigError: an argument is out of range.

    >>> layer = Dequantisation((1, 2, 2), 256, width=8)
    >>> value, log_det = layer.inverse(torch.full((1, 2, 2), 7.25))
    >>> value.floor().flatten(), log_det.abs() < 1e-5
    (tensor([7., 7., 7., 7.], grad_fn=...), tensor(True))
    """

    event_ndim = 3

    def __init__(
        self, shape: Sequence[int], levels: int, couplings: int = 4, width: int = 32, blocks: int = 1
    ) -> None:
        super().__init__()
        self.event_shape = image_of(shape)
        at_least("levels", levels, 2)
        at_least("couplings", couplings, 1)
        self.levels = levels
        channels, height, wide = self.event_shape
        both = (2 * channels, height, wide)
        law = Affine()
        layers: list[Bijection] = []
        for k in range(couplings):
            # The image is passed, and every other pixel of the noise.
            board = [(row + column + k) % 2 == 0 for row in range(height) for column in range(wide)]
            mask = Mask("given", both, elements=[True] * channels * height * wide + board * channels)
            if mask.n_moved:
                layers.append(
                    Coupling(law, ResidualCNN(both, law.n_params, width=width, blocks=blocks), mask)
                )
        self.moves = Chain(*layers)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x + g⁻¹(u; x) of z = x + u."""
        return self._moved("z", z, inverse=False)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x + g(ε; x) of the cell x and ε in it."""
        return self._moved("x", x, inverse=True)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return what places in a cell round at: both ends of it are far from zero."""
        tiny = torch.finfo(given.dtype).eps
        before, after = given - given.floor(), value - value.floor()
        slope = after * (1 - after) / (before * (1 - before)).clamp(min=tiny)
        return 1 + value.abs() + given.abs() * (1 + slope)

    def _moved(self, name: str, value: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        check_event(name, value, self.event_shape)
        ok = value.abs() < _MOST  # False for NaN
        point = torch.where(ok, value, 0.5)
        cell = point.detach().floor()
        least = torch.finfo(value.dtype).eps / 4
        place = (point - cell).clamp(least, 1 - 2 * least)
        logit = place.log() - torch.log1p(-place)
        seen = torch.where(ok, cell / self.levels - 0.5, 0.0)
        joined = torch.cat([seen, logit], -3)
        moved, log_det = self.moves.inverse(joined) if inverse else self.moves(joined)
        moved = moved.narrow(-3, self.event_shape[0], self.event_shape[0])
        # log σ(w) and log σ(−w), each without losing its digits.
        log_low, log_high = torch.nn.functional.logsigmoid(moved), torch.nn.functional.logsigmoid(-moved)
        slopes = log_low + log_high - place.log() - torch.log1p(-place)
        result = within(cell, cell + log_low.exp())
        return torch.where(ok, result, value), log_det + sum_event(torch.where(ok, slopes, 0.0), 3)
