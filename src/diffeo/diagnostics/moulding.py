"""The picture of a flow: how it moulds the base density into the data, layer by layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffeo.bijections import Chain
from diffeo.bijections.chain import layers_of
from diffeo.errors import ConfigError
from diffeo.flows import Flow

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

_CIRCLES, _RAYS, _POINTS = (0.5, 1.0, 1.5, 2.0, 2.5), 16, 160


@torch.no_grad()
def moulding(
    flow: Flow,
    x: Tensor,
    *,
    columns: tuple[str, str] = ("x₁", "x₂"),
    panels: int = 7,
    resolution: int = 160,
    seed: int = 0,
) -> Picture:
    """Draw z → x of a flow of two features: the density after each stage, and the data beside it.

    Every panel shows the exact density p_k(h) = π(z) │det ∂z/∂h│ of h = f_k(… f₁(z)), shaded, and the
    images of circles and rays of the base space: how a stage stretches and bends the plane is how it
    changes the density. Each panel has the limits of what it shows.

    Args:
        flow: a flow of two features without context.
        x: rows of the data, drawn in the last panel.
        columns: names of the two features.
        panels: how many stages to show, from the base (first) to the model (last); the data come after.
        resolution: grid points a side.
        seed: of the draws that set each panel's limits.

    Raises:
        ConfigError: the flow has another number of features, or needs a context.
    """
    from matplotlib.figure import Figure as Picture

    if tuple(flow.event_shape) != (2,) or flow.context_features:
        raise ConfigError(
            f"flow has events of shape {tuple(flow.event_shape)} and {flow.context_features} context "
            "features; the picture needs two features and no context."
        )
    layers = layers_of(flow.bijection)
    shown = sorted({round(k * len(layers) / max(panels - 1, 1)) for k in range(panels)})
    count = len(shown) + 1
    wide = min(count, 4)
    high = math.ceil(count / wide)
    picture = Picture(figsize=(3.4 * wide, 3.5 * high), layout="constrained")
    axes = picture.subplots(high, wide, squeeze=False).ravel()
    draws = flow.base.sample((4000,), generator=torch.Generator(flow.base.device).manual_seed(seed))
    model = flow.bijection(draws)[0]
    data_box = _limits(torch.cat([model, x.to(model)]))
    for ax, k in zip(axes, shown, strict=False):
        stage = Chain(*(layer for _, layer in layers[:k])) if k else None
        moved = draws if stage is None else stage(draws)[0]
        box = _limits(moved) if k < len(layers) else data_box
        _shade(ax, flow, stage, box, resolution)
        _web(ax, flow, stage)
        title = "z ~ π" if k == 0 else f"after layer {k}" if k < len(layers) else "x = f(z): the model"
        ax.set_title(title)
        if k == len(layers):
            ax.set_xlabel(columns[0])
            ax.set_ylabel(columns[1])
    last = axes[len(shown)]
    last.scatter(*x.detach().cpu().T.numpy(), s=5, alpha=0.5, color="#22223b", linewidths=0)
    last.set_xlim(*data_box[0])
    last.set_ylim(*data_box[1])
    last.set_title("the data")
    last.set_xlabel(columns[0])
    last.set_ylabel(columns[1])
    for ax in axes[count:]:
        ax.set_visible(False)
    for ax in axes[:count]:
        ax.tick_params(labelsize=7)
    return picture


def _limits(points: Tensor) -> list[tuple[float, float]]:
    """Return, for each axis, the range that holds 99 % of the points, with a margin."""
    low, high = torch.quantile(points.double(), torch.tensor([0.005, 0.995], dtype=torch.float64), dim=0)
    margin = 0.12 * (high - low)
    return list(zip((low - margin).tolist(), (high + margin).tolist(), strict=True))


def _shade(ax: Any, flow: Flow, stage: Chain | None, box: list[tuple[float, float]], n: int) -> None:
    across, up = (torch.linspace(*limits, n, dtype=flow.dtype) for limits in box)
    grid = torch.cartesian_prod(across, up).to(flow.base.device)
    z, log_det = (grid, 0.0) if stage is None else stage.inverse(grid)
    density = (flow.base.log_prob(z) + log_det).exp().nan_to_num(0.0).reshape(n, n).cpu()
    ax.pcolormesh(
        across.numpy(),
        up.numpy(),
        density.T.sqrt().numpy(),  # the square root keeps the tails visible
        cmap="YlGnBu",
        shading="gouraud",
        rasterized=True,
    )
    ax.set_xlim(*box[0])
    ax.set_ylim(*box[1])


def _web(ax: Any, flow: Flow, stage: Chain | None) -> None:
    angle = torch.linspace(0, 2 * math.pi, _POINTS)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    reach = torch.linspace(0, max(_CIRCLES), _POINTS)[:, None]
    lines = [radius * circle for radius in _CIRCLES]
    lines += [
        reach * torch.tensor([math.cos(a), math.sin(a)])
        for a in torch.linspace(0, 2 * math.pi, _RAYS + 1)[:-1].tolist()
    ]
    for k, line in enumerate(lines):
        z = line.to(device=flow.base.device, dtype=flow.dtype)
        h = z if stage is None else stage(z)[0]
        strong = k < len(_CIRCLES)
        ax.plot(
            *h.cpu().T.numpy(), color="#c1440e", lw=0.9 if strong else 0.5, alpha=0.8 if strong else 0.5
        )
