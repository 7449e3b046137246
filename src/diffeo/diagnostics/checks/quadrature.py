"""∫ p over all of ℝ or ℝ², by adaptive Gauss–Kronrod cubature on boxes that follow the density.

x = m + s · sinh(t), a coordinate in which every tail is short, is cut into boxes of t. The boxes
start as a tree that splits wherever draws of the model fall (so that no narrow peak is missed; the draws
place nodes and contribute nothing to the sum) and are halved where the sum is most in doubt.
"""

from __future__ import annotations

import itertools
import math
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
        doubt: the estimated error of the sum, plus the share of draws that fall on one number.
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
    most: int = 1_500_000,
) -> Cubature:
    """Integrate exp(log_density) over ℝᴰ, D = 1 or 2, to an estimated error below ``tolerance``.

    The doubt of a box is the difference of the two rules; where a draw in the box lies much higher than
    every node (a ridge between the nodes), it is at least the share of draws in the box.

    Args:
        log_density: maps points (n, D), float64, to (n,); NaN counts as density zero.
        draws: draws of the model, (n, D): they tell where the density may be.
        tolerance: the estimated error to stop at.
        most: the largest number of evaluations; ``doubt`` tells what they achieved.
    """
    draws = draws[draws.isfinite().all(-1)].double()
    dim = draws.shape[-1]
    middle = draws.median(0).values
    spread = (draws - middle).abs().median(0).values.clamp(min=1e-300)
    plane = _Plane(log_density, middle, spread)
    points = plane.t_of(draws).clamp(-_REACH, _REACH)
    height = plane.log_density_at(points)
    share = 1.0 / max(len(draws), 1)

    boxes, owner = _tree(points)
    value, doubt, peak = _rule(plane, boxes)
    doubt = _overlooked(doubt, peak, height, owner, share)
    spent = len(boxes) * 15**dim
    while float(doubt.sum()) > tolerance and spent < most:
        # Halve the boxes that together hold most of the doubt.
        order = doubt.argsort(descending=True)
        held = doubt[order].cumsum(0)
        count = int((held < 0.9 * held[-1]).sum()) + 1
        chosen, kept = order[:count], order[count:]
        halves, axis, cut = _halved(boxes[chosen])
        new_value, new_doubt, new_peak = _rule(plane, halves)
        spent += len(halves) * 15**dim
        # Each draw moves with its box: to its new place, or to the left or right half.
        place = torch.empty(len(boxes), dtype=torch.long)
        place[kept] = torch.arange(len(kept))
        place[chosen] = len(kept) + torch.arange(count)
        owner = place[owner]
        half = (owner - len(kept)).clamp(min=0)
        right = (owner >= len(kept)) & (points[torch.arange(len(points)), axis[half]] > cut[half])
        owner = owner + torch.where(right, count, 0)
        boxes = torch.cat([boxes[kept], halves])
        value = torch.cat([value[kept], new_value])
        peak = torch.cat([peak[kept], new_peak])
        doubt = _overlooked(torch.cat([doubt[kept], new_doubt]), peak, height, owner, share)
    corners = plane.x_of(boxes)
    return Cubature(corners[:, 0], corners[:, 1], value, float(doubt.sum()) + _tied(draws))


@dataclass(frozen=True)
class _Plane:
    """The coordinate t, x = middle + spread · sinh(t), and the density in it."""

    log_density: Callable[[Tensor], Tensor]
    middle: Tensor
    spread: Tensor

    def x_of(self, t: Tensor) -> Tensor:
        return self.middle + self.spread * torch.sinh(t)

    def t_of(self, x: Tensor) -> Tensor:
        return torch.asinh((x - self.middle) / self.spread)

    def log_density_at(self, t: Tensor) -> Tensor:
        """Return log p(x) │det ∂x/∂t│ at points (…, D), −∞ for NaN."""
        dim = t.shape[-1]
        log_cosh = t.abs() + torch.log1p(torch.exp(-2 * t.abs())) - math.log(2)
        log_p = self.log_density(self.x_of(t).reshape(-1, dim)).reshape(t.shape[:-1])
        return torch.nan_to_num(log_p + (self.spread.log() + log_cosh).sum(-1), nan=-torch.inf)


def _tied(draws: Tensor) -> float:
    """Return the share of draws that fall on one number together: a density between two floating numbers.

    Independent draws never do, unless all the mass lies closer to a point than its neighbours on the
    number line, as at the edge of a box. No node can be placed there.
    """
    return max(1.0 - len(column.unique()) / max(len(column), 1) for column in draws.T)


def _tree(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes (k, 2, D) of t that cover everything, few points in each, and each point's box."""
    dim = points.shape[-1]
    low, high = points.amin(0), points.amax(0)
    margin = 0.02 * (high - low) + 1e-6
    edges = [_edges(float(a), float(b)) for a, b in zip(low - margin, high + margin, strict=True)]
    grid = [torch.tensor(list(itertools.pairwise(edge)), dtype=torch.float64) for edge in edges]
    if dim == 1:
        outer = grid[0][:, :, None]
    else:
        rows, columns = len(grid[0]), len(grid[1])
        outer = torch.stack([grid[0][:, None].expand(-1, columns, -1), grid[1].expand(rows, -1, -1)], -1)
        outer = outer.reshape(-1, 2, dim)
    everyone = torch.arange(len(points))
    waiting = [(box, everyone[_inside(points, box)], 0) for box in outer]
    done: list[Tensor] = []
    owner = torch.zeros(len(points), dtype=torch.long)
    least = max(32, len(points) // 128)
    while waiting:
        box, members, depth = waiting.pop()
        if len(members) <= least or depth > 40:
            owner[members] = len(done)
            done.append(box)
            continue
        axis = depth % dim
        coordinate = points[members, axis]
        cut = float(coordinate.median())
        if not float(box[0, axis]) + 1e-9 < cut < float(box[1, axis]) - 1e-9:
            cut = float(box[:, axis].mean())
        left, right = box.clone(), box.clone()
        left[1, axis] = right[0, axis] = cut
        below = coordinate <= cut
        waiting += [(left, members[below], depth + 1), (right, members[~below], depth + 1)]
    return torch.stack(done), owner


def _edges(low: float, high: float) -> list[float]:
    """Return the ends of intervals over the whole reach: the core, and ever wider ones on both sides."""
    step = max(high - low, 1e-3)
    above, below = [high], [low]
    while above[-1] < _REACH:
        above.append(min(above[-1] + step * 2 ** (len(above) - 2), _REACH))
    while below[-1] > -_REACH:
        below.append(max(below[-1] - step * 2 ** (len(below) - 2), -_REACH))
    return below[::-1] + above


def _inside(points: Tensor, box: Tensor) -> Tensor:
    return ((points > box[0]) & (points <= box[1])).all(-1)


def _overlooked(doubt: Tensor, peak: Tensor, height: Tensor, owner: Tensor, share: float) -> Tensor:
    """Return the doubts, raised to the share of draws where draws lie much higher than every node."""
    above = height > peak[owner] + math.log(4.0)
    missed = torch.zeros_like(doubt).index_add_(0, owner, above.double() * share)
    return torch.maximum(doubt, missed)


def _rule(plane: _Plane, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return Kronrod's integral over each box, |Kronrod − Gauss|, and the highest log-density at a node."""
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
    peaks: list[Tensor] = []
    for part in boxes.split(4096 // dim**3):
        centre, radius = part.mean(1, keepdim=True), (part[:, 1:] - part[:, :1]) / 2
        log_p = plane.log_density_at(centre + radius * grid)
        peaks.append(log_p.amax(-1))
        values.append(log_p.exp() * radius.prod(-1))
    value = torch.cat(values)
    fine, coarse = value @ kronrod, value @ gauss
    return fine, (fine - coarse).abs(), torch.cat(peaks)


def _halved(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the left and right halves of boxes cut across the longer side, that side and the cut."""
    axis = (boxes[:, 1] - boxes[:, 0]).argmax(-1)
    row = torch.arange(len(boxes))
    cut = boxes.mean(1)[row, axis]
    left, right = boxes.clone(), boxes.clone()
    left[row, 1, axis] = cut
    right[row, 0, axis] = cut
    return torch.cat([left, right]), axis, cut
