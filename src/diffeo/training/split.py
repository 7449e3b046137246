"""Training rows and held-out rows, kept apart from the first line on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffeo.bijections import ActNorm, Gaussianize, Standardize, Whiten, Wrap
from diffeo.distributions import Uniform, VonMises
from diffeo.errors import ConfigError, DataError, ShapeError
from diffeo.flows import Flow
from diffeo.kernels.shapes import check_context
from diffeo.objectives import Batch
from diffeo.training.rows import as_rows, check_varies
from diffeo.training.seeds import generator

#: Fewer rows than this say nothing about a density.
FEWEST_ROWS = 10

#: Rows that data-dependent initialisation and the warning below read, at most.
SAMPLE = 65_536

#: Numbers of images that they read, at most: inside of a flow an image has many channels more.
SAMPLE_NUMBERS = 2**21

#: What to do about angles that are not in the unit of a flow's circle.
_WRAPPING = (
    "Pass flow.then(Wrap(low, high)) instead, with the circle in the data's unit, as Wrap(0, 360) for "
    "degrees; densities stay in that unit."
)


@dataclass(frozen=True)
class Rows:
    """Rows on one device, with their numbers in the caller's data."""

    x: Tensor
    context: Tensor | None
    number: Tensor

    def __len__(self) -> int:
        return self.x.shape[0]

    def take(self, index: Tensor) -> Batch:
        """Return the rows at ``index`` (on the same device)."""
        context = None if self.context is None else self.context.index_select(0, index)
        return Batch(self.x.index_select(0, index), context)

    def to(self, device: torch.device, dtype: torch.dtype) -> Rows:
        """Return the rows on ``device``, of ``dtype``; their numbers stay on the CPU."""
        context = None if self.context is None else self.context.to(device, dtype)
        return Rows(self.x.to(device, dtype), context, self.number)

    def sample(self, seed: int) -> Rows:
        """Return at most :data:`SAMPLE` of the rows, drawn without replacement; of images fewer."""
        most = SAMPLE
        if self.x.ndim > 2:
            most = max(256, min(SAMPLE, SAMPLE_NUMBERS // self.x[0].numel()))
        if len(self) <= most:
            return self
        chosen = torch.randperm(len(self), generator=generator(seed, "sample"))[:most]
        batch = self.take(chosen.to(self.x.device))
        return Rows(batch.x, batch.context, self.number[chosen])


def checked_rows(
    flow: Flow, x: Any, context: Any, validation: Any, *, noise: float, seed: int
) -> tuple[Rows, Rows | None]:
    """Return training and held-out rows, or say what is wrong with them.

    Raises:
        DtypeError, ShapeError, DataError: see :func:`diffeo.training.rows.as_rows`; also for too few
            rows, for constant columns, and for angles off the circle of a flow.
        ConfigError: ``validation`` is none of the forms that it can have.
    """
    whole = _pair(flow, "x", x, "context", context)
    _check_enough(whole)
    if noise == 0 and not flow.base.coded:
        check_varies(whole.x)
    if validation is None:
        train, held = whole, None
    elif isinstance(validation, float):
        train, held = _divide(whole, validation, seed)
    elif isinstance(validation, tuple):
        if len(validation) != 2:
            raise ConfigError(f"validation is a tuple of {len(validation)}; expected (x_val, context_val).")
        train = whole
        held = _pair(flow, "validation[0]", validation[0], "validation[1]", validation[1])
    elif isinstance(validation, bool | int | str):
        raise ConfigError(
            f"validation={validation!r} must be a fraction between 0 and 1 as 0.1, held-out rows, a pair "
            "(x_val, context_val), or None."
        )
    else:
        train, held = whole, _pair(flow, "validation", validation, "context_val", None)
    _check_enough(train)
    if held is not None and len(held) == 0:
        raise DataError("validation has no rows; expected at least one. Pass some, or validation=None.")
    return train, held


def _check_enough(train: Rows) -> None:
    if len(train) < FEWEST_ROWS:
        raise DataError(
            f"x has {len(train)} training row(s); expected at least {FEWEST_ROWS}: fewer say nothing about "
            "a density. Add rows, or hold out a smaller part of them."
        )


def _pair(flow: Flow, x_name: str, x: Any, context_name: str, context: Any) -> Rows:
    rows = as_rows(x_name, x, tuple(flow.event_shape), flow.dtype)
    _check_circle(flow, x_name, rows)
    if context is None:
        if context_name == "context_val" and flow.context_features:
            raise ShapeError(
                "validation has rows without context; the flow needs one: pass validation=(x_val, "
                "context_val)."
            )
        check_context(None, flow.context_features)
        return Rows(rows, None, torch.arange(rows.shape[0]))
    if flow.context_features == 0:
        raise ShapeError(
            f"{context_name}, of shape {tuple(np.shape(context))}, was given to a flow without context; "
            "expected none: leave it out, or build the flow with context=…, the number of its features."
        )
    given = as_rows(context_name, context, (flow.context_features,), flow.dtype)
    if given.shape[0] != rows.shape[0]:
        raise ShapeError(
            f"{context_name} has {given.shape[0]} rows, {x_name} has {rows.shape[0]}; expected one row of "
            "context for each row of data: pass as many."
        )
    return Rows(rows, given.to(rows.device), torch.arange(rows.shape[0]))


def _check_circle(flow: Flow, name: str, rows: Tensor) -> None:
    """Raise :class:`DataError` if a row is off the circle of a flow whose density is zero there."""
    circle = flow.bijection.circles[1]
    if circle is None or not isinstance(flow.base, Uniform | VonMises):
        return
    if any(isinstance(part, Wrap) for part in flow.bijection.modules()):  # any number is an angle to it
        return
    flat = rows.reshape(rows.shape[0], -1)
    outside = flat.abs() > circle / 2
    hit = outside.any(-1).nonzero().flatten()
    if hit.numel():
        row = int(hit[0])
        column = int(outside[row].nonzero()[0])
        raise DataError(
            f"{name}[{row}] has {float(flat[row, column]):g} in column {column}, outside the circle "
            f"[{-circle / 2:.4g}, {circle / 2:.4g}] of the flow, where its density is zero ({hit.numel()} "
            f"such row(s)); expected angles on it. {_WRAPPING}"
        )


def _divide(whole: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    if not 0 < fraction < 1:
        raise ConfigError(f"validation={fraction!r} must be a fraction between 0 and 1, as 0.1, or None.")
    order = torch.randperm(len(whole), generator=generator(seed, "split"))
    cut = max(1, round(len(whole) * fraction))
    # Sorted, so that the rows of a memory-mapped file are read in one sweep.
    parts = order[cut:].sort().values, order[:cut].sort().values
    batches = [whole.take(part.to(whole.x.device)) for part in parts]
    train, held = (Rows(b.x, b.context, part) for b, part in zip(batches, parts, strict=True))
    return train, held


def warn_unstandardised(flow: Flow, train: Rows, seed: int) -> None:
    """Warn where columns are far from unit scale and nothing in the flow brings them there."""
    standard = Standardize | Gaussianize | Whiten | ActNorm | Wrap
    if flow.base.coded or any(isinstance(part, standard) for part in flow.bijection.modules()):
        return
    flat = train.sample(seed).x.double().flatten(1)
    low, middle, high = (
        flat.kthvalue(1 + round(q * (flat.shape[0] - 1)), 0).values for q in (0.25, 0.5, 0.75)
    )
    spread = high - low
    odd = ((middle.abs() > 100) | (spread > 100) | ((spread > 0) & (spread < 0.01))).nonzero().flatten()
    if odd.numel():
        k, remedy = int(odd[0]), _WRAPPING
        if flow.bijection.circles[1] is None:
            remedy = (
                f"Pass flow.then(Standardize({flow.event_shape[0]})) instead; densities stay in the data's "
                "own units."
            )
        warnings.warn(
            f"column {k} of x has median {float(middle[k]):.3g} and interquartile range "
            f"{float(spread[k]):.3g}, and nothing in the flow standardises it ({odd.numel()} such "
            f"column(s)): it will fit badly. {remedy}",
            UserWarning,
            stacklevel=3,
        )
