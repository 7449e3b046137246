"""The caller's data as rows of the flow's dtype: everything that can be wrong with it is found here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffeo.errors import DataError, DtypeError, ShapeError


def as_rows(name: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return ``value`` as a tensor of shape ``(rows, *shape)``; finite, detached, not copied if it fits.

    Raises:
        DtypeError: it is not a floating array or tensor, or a tensor of another dtype than the flow's.
        ShapeError: its shape is not ``(rows, *shape)``.
        DataError: a row holds NaN, infinity, or a number too large for the flow's dtype.
    """
    rows = (
        _from_tensor(name, value, dtype) if isinstance(value, Tensor) else _from_array(name, value, dtype)
    )
    if tuple(rows.shape[1:]) != tuple(shape) or rows.ndim != len(shape) + 1:
        wanted = ", ".join(str(size) for size in ("rows", *shape))
        hint = (
            f" A single column of numbers is {name}.reshape(-1, 1)."
            if rows.ndim == 1 and tuple(shape) == (1,)
            else ""
        )
        raise ShapeError(
            f"{name} has shape {tuple(rows.shape)}; expected ({wanted}): reshape it, or build the flow for "
            f"its features.{hint}"
        )
    # A sum is one pass without a temporary; it may overflow, so only the slow look decides.
    if not bool(rows.sum().isfinite()):
        _check_finite(name, rows, value)
    return rows


def _from_tensor(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    if value.layout != torch.strided:
        raise DtypeError(
            f"{name} has layout {value.layout}; expected torch.strided: pass {name}.to_dense()."
        )
    if value.device.type == "meta":
        raise DtypeError(f"{name} is on meta, which holds no numbers; expected a tensor of data: pass one.")
    if not value.is_floating_point():
        raise DtypeError(
            f"{name} has dtype {value.dtype}; expected {dtype}, since a density is over real numbers. Pass "
            f"{name}.to({dtype}) if its values are measurements; counts and codes have no density (add "
            "noise to them first)."
        )
    if value.dtype != dtype:
        raise DtypeError(
            f"{name} has dtype {value.dtype}; expected {dtype}, which the flow computes in: pass "
            f"{name}.to({dtype})."
        )
    return value.detach()


def _from_array(name: str, value: Any, dtype: torch.dtype) -> Tensor:
    if isinstance(value, np.ma.MaskedArray):
        raise DtypeError(
            f"{name} is a masked array, whose mask would be lost; expected a plain array: pass its "
            "complete rows."
        )
    if not isinstance(value, np.ndarray):
        remedy = (
            f"{name}.to_numpy()" if hasattr(value, "to_numpy") else f"numpy.asarray({name}, dtype=float)"
        )
        raise DtypeError(
            f"{name} is a {type(value).__name__}; expected a numpy array or a torch.Tensor: pass {remedy}."
        )
    if value.dtype.kind != "f":
        raise DtypeError(
            f"{name} is an array of dtype {value.dtype}; expected floating numbers. Pass "
            f"{name}.astype('float32') if its values are measurements; counts and codes have no density "
            "(add noise to them first), and text has to be encoded."
        )
    kept: Any = np.float64 if dtype == torch.float64 else np.float32
    with np.errstate(over="ignore"):
        # A copy, since torch would alias a read-only array or a memory map.
        return torch.from_numpy(np.array(value, dtype=kept, order="C")).to(dtype)


def _check_finite(name: str, rows: Tensor, given: Any) -> None:
    flat = rows.reshape(rows.shape[0], -1)
    bad = ~flat.isfinite()
    hit = bad.any(-1).nonzero().flatten()
    if hit.numel() == 0:
        return
    row = int(hit[0])
    column = int(bad[row].nonzero()[0])
    original = (
        np.asarray(given).reshape(rows.shape[0], -1)[row, column] if not isinstance(given, Tensor) else None
    )
    if original is not None and np.isfinite(original):
        raise DataError(
            f"{name}[{row}] has {original:g} in column {column}, which does not fit in {rows.dtype} "
            f"({hit.numel()} such row(s)); expected numbers that do. Convert the flow, flow.double(), or "
            "change the column's unit."
        )
    raise DataError(
        f"{name} has {hit.numel()} row(s) with NaN or infinity, the first of them {name}[{row}] "
        f"({float(flat[row, column]):g} in column {column}); expected finite numbers. Drop such rows, "
        f"{name}[isfinite({name}).all(1)], or fill them in."
    )


def check_varies(x: Tensor) -> None:
    """Raise :class:`DataError` if a column has one value only: its density has no bound."""
    flat = x.reshape(x.shape[0], -1)
    constant = (flat.amin(0) == flat.amax(0)).nonzero().flatten().tolist()
    if constant:
        shown = ", ".join(str(k) for k in constant[:5]) + (", …" if len(constant) > 5 else "")
        raise DataError(
            f"x has {len(constant)} column(s) with one value only ({shown}; column {constant[0]} is always "
            f"{float(flat[0, constant[0]]):g}); expected columns that vary, since no density describes "
            "these. Leave them out, or spread them with TrainConfig(noise=0.01)."
        )
