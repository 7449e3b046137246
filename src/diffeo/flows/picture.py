"""One picture of a flow, for notebooks: its density, draws beside rows, the latent, log-densities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffeo.errors import ConfigError, at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

    from diffeo.flows.flow import Flow

#: Draws, and grid points a side.
_DRAWS, _GRID = 2_000, 120

_ROWS, _MODEL = "#22223b", "#c1440e"


@torch.no_grad()
def picture(
    flow: Flow,
    x: Tensor | None = None,
    context: Tensor | None = None,
    *,
    columns: Sequence[str] | None = None,
    seed: int = 0,
) -> Picture:
    """Return a figure of matplotlib with a panel for each of the things that a flow knows.

    - **p(x), exact**: the density, a curve (one feature) or shaded (two); of more features the two
      whose correlation among draws is largest, as draws alone.
    - **draws**, beside rows where ``x`` is given.
    - **the latent of the rows**: the first two numbers of z = f⁻¹(x), within circles that hold 50 % and
      95 % of them where z is standard normal. Only where ``x`` is given.
    - **log p of draws**, and of the rows: where the flow is right, both are alike.

    Args:
        flow: the flow.
        x: rows ``(n,) + event_shape``.
        context: one context ``(context_features,)`` that all of the picture is given.
        columns: names of the features.
        seed: of the draws.

    Raises:
        ConfigError: the flow reads a context and none is given, or one for each of several rows.
        ShapeError: rows of another shape.
    """
    from matplotlib.figure import Figure as Picture

    if flow.context_features and (context is None or context.ndim != 1):
        given = "none" if context is None else f"one of shape {tuple(context.shape)}"
        raise ConfigError(
            f"the flow reads a context of {flow.context_features} features, and context is {given}; "
            f"expected shape ({flow.context_features},): a picture is of one context, p(x | c)."
        )
    names = list(columns or [f"x{k}" for k in range(flow.event_shape.numel())])
    at_least("names in columns", len(names), flow.event_shape.numel())
    generator = torch.Generator(flow.base.device).manual_seed(seed)
    draws, log_p = flow.sample_and_log_prob((_DRAWS,), context, generator=generator)
    panels: list[Callable[[Axes], None]] = []
    flat = _flat(draws)
    if flat.shape[1] <= 2:
        panels.append(partial(_density, flow=flow, context=context, draws=flat, names=names))
    pair = _pair(flat)
    rows = None if x is None else _flat(x)
    panels.append(partial(_draws, draws=flat, rows=rows, pair=pair, names=names))
    if x is not None:
        panels.append(partial(_latent, z=_flat(flow.encode(x, context))))
    held = None if x is None else flow.log_prob(x, context)
    panels.append(partial(_log_densities, draws=log_p, rows=held))
    found = Picture(figsize=(4.2 * len(panels), 3.9), layout="constrained")
    for ax, draw in zip(found.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(ax)
    return found


def _flat(values: Tensor) -> Tensor:
    """Return rows as a matrix in the memory of the processor, without those that are not finite."""
    flat = values.detach().reshape(len(values), -1).cpu()
    return flat[flat.isfinite().all(-1)]


def _pair(draws: Tensor) -> tuple[int, int]:
    """Return the two features whose draws are correlated most."""
    size = draws.shape[1]
    if size < 3:
        return 0, size - 1
    related = torch.corrcoef(draws.T).nan_to_num().abs().fill_diagonal_(0)
    place = int(related.argmax())
    return min(divmod(place, size)), max(divmod(place, size))


def _limits(values: Tensor) -> tuple[float, float]:
    low, high = torch.quantile(values.double(), torch.tensor([0.002, 0.998], dtype=torch.float64)).tolist()
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin


def _density(ax: Axes, flow: Flow, context: Tensor | None, draws: Tensor, names: list[str]) -> None:
    grids = [torch.linspace(*_limits(column), _GRID, dtype=flow.dtype) for column in draws.T]
    points = torch.cartesian_prod(*grids).reshape(-1, len(grids)).to(flow.base.device)
    density = flow.log_prob(points.reshape(len(points), *flow.event_shape), context).exp().cpu()
    ax.set_title("p(x), exact")
    ax.set_xlabel(names[0])
    if len(grids) == 1:
        ax.fill_between(grids[0].numpy(), density.numpy(), color=_MODEL, alpha=0.3, lw=0)
        ax.plot(grids[0].numpy(), density.numpy(), color=_MODEL)
        return
    ax.set_ylabel(names[1])
    shown: Any = density.reshape(_GRID, _GRID).T.numpy()
    ax.pcolormesh(grids[0].numpy(), grids[1].numpy(), shown, cmap="YlGnBu", shading="nearest")


def _draws(ax: Axes, draws: Tensor, rows: Tensor | None, pair: tuple[int, int], names: list[str]) -> None:
    first, second = pair
    ax.set_title("draws" if rows is None else "draws, and rows")
    ax.set_xlabel(names[first])
    if first == second:
        parts = [draws[:, 0].numpy()] + ([] if rows is None else [rows[:, 0].numpy()])
        colours = [_MODEL, _ROWS][: len(parts)]
        ax.hist(parts, bins=40, density=True, color=colours, label=["draws", "rows"][: len(parts)])
    else:
        ax.set_ylabel(names[second])
        ax.scatter(*draws[:, pair].T.numpy(), s=4, color=_MODEL, alpha=0.5, lw=0, label="draws")
        if rows is not None:
            ax.scatter(*rows[:_DRAWS, pair].T.numpy(), s=4, color=_ROWS, alpha=0.5, lw=0, label="rows")
    if rows is not None:
        ax.legend(frameon=False, markerscale=2)


def _latent(ax: Axes, z: Tensor) -> None:
    from matplotlib.patches import Circle

    second = min(1, z.shape[1] - 1)
    ax.set_title("the latent of the rows")
    if not second:
        ax.hist(z[:, 0].numpy(), bins=40, density=True, color=_ROWS)
        return
    ax.scatter(*z[:_DRAWS, :2].T.numpy(), s=4, color=_ROWS, alpha=0.5, lw=0)
    for radius in (1.1774, 2.4477):  # of a chi distribution of two degrees, at 50 and 95 %
        ax.add_patch(Circle((0, 0), radius, fill=False, color="#8d99ae"))
    ax.set_aspect("equal", adjustable="datalim")


def _log_densities(ax: Axes, draws: Tensor, rows: Tensor | None) -> None:
    parts = [_flat(one).ravel().numpy() for one in (draws, rows) if one is not None]
    ax.set_title("log p of draws" if rows is None else "log p of draws, and of rows")
    ax.set_xlabel("nats")
    ax.hist(parts, bins=40, density=True, color=[_MODEL, _ROWS][: len(parts)],
            label=["draws", "rows"][: len(parts)])  # fmt: skip
    if rows is not None:
        ax.legend(frameon=False)
