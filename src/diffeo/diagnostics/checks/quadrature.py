"""∫ p over all of ℝ or ℝ², by adaptive Gauss–Kronrod cubature on boxes that follow the density.

x = m + s · sinh(t), a coordinate in which every tail is short, is cut into boxes of t. The boxes
start as a tree that splits wherever draws of the model fall (so that no narrow peak is missed; the draws
place nodes and contribute nothing to the sum) and are halved where the two rules disagree most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: sinh(t) then reaches 10²⁰ scales: a Cauchy tail beyond holds 10⁻²⁰.
_REACH = 46.0

# Kronrod's 15 nodes on [−1, 1] (those ≥ 0, largest first), their weights, and the weights of the Gauss
# rule of 7 nodes embedded in them. Source: Piessens et al., *QUADPACK* (1983), routine QK15.
_NODES = (
    0.991455371120812639206854697526329, 0.949107912342758524526189684047851,
    0.864864423359769072789712788640926, 0.741531185599394439863864773280788,
    0.586087235467691130294144691693013, 0.405845151377397166906606412076961,
    0.207784955007898467600689403773245, 0.0,
)  # fmt: skip
_KRONROD = (
    0.022935322010529224963732008058970, 0.063092092629978553290700663189204,
    0.104790010322250183839876322541518, 0.140653259715525918745189590510238,
    0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
    0.204432940075298892414161999234649, 0.209482141084727828012999174891714,
)  # fmt: skip
_GAUSS = (
    0.129484966168869693270611432679082, 0.279705391489276667901467771423780,
    0.381830050505118944950369775488975, 0.417959183673469387755102040816327,
)  # fmt: skip


@dataclass(frozen=True)
class Cubature:
    """Boxes, the mass found in each, and how far the whole sum may be off.

    Attributes:
        low, high: corners of the boxes in the data's coordinates, (boxes, D).
        mass: ∫ p over each box.
        doubt: the estimated error of the sum.
    """

    low: Tensor
    high: Tensor
    mass: Tensor
    doubt: float

    @property
    def total(self) -> float:
        """Return the sum over all boxes."""
        return float(self.mass.sum())


@torch.no_grad()
def integrate(
    log_density: Callable[[Tensor], Tensor],
    draws: Tensor,
    *,
    tolerance: float,
    most: int = 2_000_000,
) -> Cubature:
    """Integrate exp(log_density) over ℝᴰ, D = 1 or 2, to an estimated error below ``tolerance``.

    Args:
        log_density: maps points (n, D), float64, to (n,); NaN counts as density zero.
        draws: draws of the model, (n, D): they tell where the density may be.
        tolerance: the estimated error to stop at.
        most: the largest number of evaluations; ``doubt`` tells what they achieved.
    """
    draws = draws[draws.isfinite().all(-1)].double()
    dim = draws.shape[-1]
    middle = draws.median(0).values
    spread = torch.quantile((draws - middle).abs(), 0.5, dim=0).clamp(min=1e-300)

    def mass(box: Tensor) -> tuple[Tensor, Tensor]:
        return _rule(log_density, box, middle, spread)

    boxes = _tree(torch.asinh((draws - middle) / spread), dim)
    value, doubt = mass(boxes)
    nodes = 15**dim
    spent = len(boxes) * nodes
    while float(doubt.sum()) > tolerance and spent < most:
        # Split what together holds nearly all of the doubt.
        order = doubt.argsort(descending=True)
        share = doubt[order].cumsum(0)
        count = int((share < 0.9 * share[-1]).sum()) + 1
        count = min(count, max(1, (most - spent) // (2 * nodes) + 1), 20_000 // dim)
        chosen, kept = order[:count], order[count:]
        halves = _halved(boxes[chosen])
        new_value, new_doubt = mass(halves)
        spent += len(halves) * nodes
        boxes = torch.cat([boxes[kept], halves])
        value, doubt = torch.cat([value[kept], new_value]), torch.cat([doubt[kept], new_doubt])
    corners = middle + spread * torch.sinh(boxes)
    return Cubature(corners[:, 0], corners[:, 1], value, float(doubt.sum()))


def _tree(points: Tensor, dim: int) -> Tensor:
    """Return boxes (k, 2, dim) of t that cover everything, with few draws in each."""
    outer = points.new_tensor([[-_REACH] * dim, [_REACH] * dim])
    waiting: list[tuple[Tensor, Tensor, int]] = [(outer, points.clamp(-_REACH, _REACH), 0)]
    done: list[Tensor] = []
    least = max(32, len(points) // 128)
    while waiting:
        box, inside, depth = waiting.pop()
        if (len(inside) <= least and depth >= 2 * dim) or depth > 40:
            done.append(box)
            continue
        axis = depth % dim
        cut = float(inside[:, axis].median()) if len(inside) > least else float(box[:, axis].mean())
        low, high = float(box[0, axis]), float(box[1, axis])
        if not low + 1e-9 < cut < high - 1e-9:
            cut = 0.5 * (low + high)
        left, right = box.clone(), box.clone()
        left[1, axis] = right[0, axis] = cut
        below = inside[:, axis] <= cut
        waiting += [(left, inside[below], depth + 1), (right, inside[~below], depth + 1)]
    return torch.stack(done)


def _rule(
    log_density: Callable[[Tensor], Tensor], boxes: Tensor, middle: Tensor, spread: Tensor
) -> tuple[Tensor, Tensor]:
    """Return Kronrod's integral over each box, and |Kronrod − Gauss|."""
    half = boxes.new_tensor(_NODES)
    nodes = torch.cat([-half[:-1], half.flip(0)])
    kronrod = boxes.new_tensor(_KRONROD)
    kronrod = torch.cat([kronrod[:-1], kronrod.flip(0)])
    gauss = torch.zeros_like(kronrod)
    g = boxes.new_tensor(_GAUSS)
    gauss[1::2] = torch.cat([g[:-1], g.flip(0)])
    dim = boxes.shape[-1]
    if dim == 2:
        grid = torch.cartesian_prod(nodes, nodes)
        kronrod = torch.outer(kronrod, kronrod).reshape(-1)
        gauss = torch.outer(gauss, gauss).reshape(-1)
    else:
        grid = nodes[:, None]
    values: list[Tensor] = []
    for part in boxes.split(4096 // dim**3):
        centre, radius = part.mean(1, keepdim=True), (part[:, 1:] - part[:, :1]) / 2
        t = centre + radius * grid
        x = middle + spread * torch.sinh(t)
        slope = (spread.log() + t.abs() + torch.log1p(torch.exp(-2 * t.abs())) - 0.6931471805599453).sum(-1)
        log_p = log_density(x.reshape(-1, dim)).reshape(slope.shape)
        values.append(torch.nan_to_num((log_p + slope).exp(), nan=0.0) * radius.prod(-1))
    value = torch.cat(values)
    fine, coarse = value @ kronrod, value @ gauss
    return fine, (fine - coarse).abs()


def _halved(boxes: Tensor) -> Tensor:
    """Return each box cut in two across its longer side."""
    size = boxes[:, 1] - boxes[:, 0]
    axis = size.argmax(-1)
    row = torch.arange(len(boxes))
    cut = boxes.mean(1)[row, axis]
    left, right = boxes.clone(), boxes.clone()
    left[row, 1, axis] = cut
    right[row, 0, axis] = cut
    return torch.cat([left, right])
