"""A table as numbers that every model can take: what is left out is said, whole numbers are dequantised.

A flow, a VAE and a kernel density of one table can only be compared in one measure. That is Lebesgue's
here, nats of numbers: a category has no place in it, and on a lattice (whole and rounded numbers) a density
grows without bound at the values. So uniform noise as wide as the lattice is added, once and the same for
all: the density of the noisy rows bounds the probability of the cells, E log p(x + u) ≤ log P(x).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.tables import listed
from diffeo.tables.columns import guess, make
from diffeo.tables.columns.shape import Tally, continuous_atoms
from diffeo.tables.frames import Cells, open_frame
from diffeo.tables.frames.cells import Sort

Array = NDArray[np.float64]

#: Numeric columns of fewer different values are categories in disguise.
_FEWEST_VALUES = 5

_NUMBERS: tuple[Sort, ...] = ("float", "whole", "decimal")


def numbers_of_table(data: Any, seed: int) -> tuple[Array, tuple[str, ...], tuple[str, ...]]:
    """Return the numeric columns of a table (rows, columns), their names, and notes on what was done.

    Args:
        data: an array or a frame, as :class:`diffeo.Schema` takes them.
        seed: of the noise.

    Raises:
        DataError: no column of numbers is left, a number is infinite, or every row has a hole.

    >>> x = np.stack([np.arange(50) % 10, np.linspace(0, 1, 50) ** 2], 1)
    >>> x[3, 1] = np.nan
    >>> values, names, notes = numbers_of_table(x, seed=0)
    >>> values.shape, names
    ((49, 2), ('x0', 'x1'))
    >>> notes[0]
    "1 of 50 rows was left out, with holes in the columns 'x1': impute them to keep it."
    """
    frame = open_frame(data)
    draws = np.random.default_rng(seed)
    kept: dict[str, Array] = {}
    out: dict[str, list[str]] = {}
    noisy: list[str] = []
    for k, name in enumerate(frame.names):
        cells = frame.read(k)
        why = _unfit(name, cells, named=frame.library != "numpy")
        if why:
            out.setdefault(why, []).append(name)
            continue
        values, width = cells.numbers(), _lattice(name, cells, named=frame.library != "numpy")
        # Drawn for every column, so that no column's noise depends on what the others are.
        noise = draws.uniform(-0.5, 0.5, len(values))
        if width:
            values = values + width * noise
            noisy.append(name)
        kept[name] = values
    notes = [
        f"Left out: {listed(names)} ({why}); diffeo.FlowDensity models such columns."
        for why, names in out.items()
    ]
    if not kept:
        raise DataError(
            f"x has no column of numbers: {' '.join(notes)} Expected some that all models can take: give "
            "numeric columns."
        )
    values = np.stack(list(kept.values()), 1)
    whole = np.asarray(np.isfinite(values).all(axis=1))
    if not whole.all():
        holes = [name for name, column in kept.items() if np.isnan(column).any()]
        gone = int((~whole).sum())
        if gone == len(whole):
            raise DataError(
                f"x has a hole in every row, in the columns {listed(holes)}; expected whole rows: leave "
                "the emptiest columns out, or impute them (diffeo.FlowDensity does)."
            )
        text = f"{gone:,} of {len(whole):,} rows {'was' if gone == 1 else 'were'} left out, with holes in "
        notes.insert(
            0, f"{text}the columns {listed(holes)}: impute them to keep {'it' if gone == 1 else 'them'}."
        )
    if noisy:
        notes.append(
            "Whole and rounded numbers were dequantised, by the same noise for all models: "
            f"{listed(noisy)}. Nats are those of the dequantised rows."
        )
    return values[whole], tuple(kept), tuple(notes)


def _unfit(name: str, cells: Cells, *, named: bool) -> str:
    """Return why a column has no place among numbers, or nothing."""
    if cells.sort == "label":
        return "no numbers"
    if cells.sort not in _NUMBERS:
        return "dates and times"
    numbers = cells.numbers()
    infinite = np.isinf(numbers)
    if infinite.any():
        raise DataError(
            f"column {name!r} has {int(infinite.sum())} infinite values, the first in row "
            f"{int(infinite.argmax())}; expected finite numbers or holes: replace them."
        )
    tally = Tally.of(numbers)
    if len(tally.values) < 2:
        return "constant"
    kind = guess(name, cells, named=named).kind
    if kind in ("identifier", "categorical"):
        return "identifiers"
    if len(tally.values) < _FEWEST_VALUES:
        return f"fewer than {_FEWEST_VALUES} different numbers"
    if kind in ("continuous", "positive", "bounded") and continuous_atoms(tally):
        return "some numbers have a probability of their own"
    return ""


def _lattice(name: str, cells: Cells, *, named: bool) -> float:
    """Return the spacing of a column of whole or rounded numbers, 0 of a continuous one."""
    kind = guess(name, cells, named=named).kind
    if kind not in ("integer", "count", "rounded"):
        return 0.0
    coding = make(name, kind, cells, {})
    assert coding is not None
    return coding.variable.lattice
