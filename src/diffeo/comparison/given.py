"""What ``compare`` is given, as rows: a toy's name, the digits, a file, an array, images, a frame."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffeo.comparison.columns import numbers_of_table
from diffeo.comparison.rows import Rows, divided
from diffeo.errors import ConfigError, DataError, did_you_mean
from diffeo.kernels.arrays import as_numbers
from diffeo.toys import TOYS, Toy

Array = NDArray[np.float64]

#: Rows of a toy, if nobody says how many.
TOY_ROWS = 5_000

#: The name of scikit-learn's 1,797 images of handwritten digits, 8 × 8 pixels of 17 levels.
DIGITS = "digits"


def rows_of(x: Any, *, most: int | None, share: float, seed: int = 0) -> Rows:
    """Return what is compared on.

    Args:
        x: a toy or its name, "digits", the path of a table, an array (rows, columns) or of images (rows,
            channels, height, width), or a frame.
        most: rows, at most, those held out included; so many are drawn of a toy.
        share: the share of rows that is held out.
        seed: of the division and of noise.

    Raises:
        ConfigError: a name is none that is known.
        DataError: the data cannot be compared on.
    """
    if isinstance(x, str) and (x == DIGITS or x in TOYS):
        x = _digits() if x == DIGITS else TOYS[x]
        if not isinstance(x, Toy):
            return _images(DIGITS, x, most=most, share=share, seed=seed)
    if isinstance(x, Toy):
        return _toy(x, most=most, share=share, seed=seed)
    name = "the data"
    if isinstance(x, str | os.PathLike):
        name, x = Path(x).name, _table(str(x))
    if isinstance(x, torch.Tensor | np.ndarray | list | tuple):
        x = as_numbers("x", x)
        if x.ndim == 4:
            return _images("images", x, most=most, share=share, seed=seed)
        if x.ndim != 2:
            raise DataError(
                f"x has shape {x.shape}; expected (rows, columns), or (rows, channels, height, width) for "
                "images: reshape it."
            )
    values, columns, notes = numbers_of_table(x, seed)
    return divided(name, values, share=share, seed=seed, most=most, columns=columns, notes=notes)


def _table(path: str) -> Any:
    from diffeo.tables import read_table

    if not Path(path).suffix and path != "-" and not Path(path).exists():
        known = [*TOYS, DIGITS]
        raise ConfigError(
            f"x={path!r:.100} is no toy and no file; expected one of {', '.join(known)}, or the path of a "
            f"table.{did_you_mean(path, known)}"
        )
    return read_table(path)


def _toy(toy: Toy, *, most: int | None, share: float, seed: int) -> Rows:
    count = TOY_ROWS if most is None else most
    x = toy.sample(count, seed=seed).double().numpy()
    rows = divided(toy.name, x, share=share, seed=seed, most=None, columns=("x₁", "x₂"))
    return replace(rows, toy=toy)


def _images(name: str, x: Array, *, most: int | None, share: float, seed: int) -> Rows:
    if not np.isfinite(x).all():
        raise DataError(
            f"x has {int((~np.isfinite(x)).sum())} pixels that are not finite; expected numbers: leave "
            "such images out."
        )
    notes: tuple[str, ...] = ()
    if (x == np.rint(x)).all():
        x = x + np.random.default_rng(seed).random(x.shape)
        notes = (
            "Whole levels of pixels were dequantised: the same noise, uniform from 0 to 1, for all models. "
            "Nats are those of the dequantised images.",
        )
    return divided(name, x, share=share, seed=seed, most=most, notes=notes)


def _digits() -> Array:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return np.asarray(bunch.images, dtype=np.float64)[:, None]
