"""What columns show to later ones: their states as bits, their numbers as waves."""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.tables.mixed.layout import WAVES

#: Numbers are shown within ±5: a conditional density may be any function of what is shown.
_WITHIN = 5.0


def one_hot(state: Tensor, states: int, dtype: torch.dtype) -> Tensor:
    """Return 1 at the state and 0 at others, ``state.shape + (states,)``."""
    return (state.unsqueeze(-1) == torch.arange(states, device=state.device)).to(dtype)


def middle_of(cell: Tensor) -> Tensor:
    """Return the middle of cells, whose ends are ``cell[0]`` and ``cell[1]``, within what is shown."""
    return 0.5 * cell[:2].clamp(-_WITHIN, _WITHIN).sum(0)


def waves(u: Tensor) -> Tensor:
    """Return what is shown of numbers, ``u.shape + (SHOWN,)``: all 0 where u is, as where there is none."""
    u = u.clamp(-_WITHIN, _WITHIN)
    angles = torch.stack([wave * u for wave in WAVES], -1)
    return torch.cat([u.unsqueeze(-1), angles.sin(), angles.cos() - 1], -1)
