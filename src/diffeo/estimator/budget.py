"""How long a fit may take, where nobody said."""

from __future__ import annotations

import math

from diffeo.estimator.folds import ENOUGH, MOST_HELD
from diffeo.tables.variable import Encoded

#: Seconds for the smallest and the largest tables, and the cells (rows × columns) of the latter.
_LEAST, _MOST, _MANY = 10.0, 110.0, 1_000_000

#: Folds of few rows; seconds that a column takes to be read in each; the share of a budget for that.
_SPLITS, _COLUMN, _READING = 5, 0.01, 0.5

#: Held-out cells (rows × columns) for each second: what a tenth of the time scores at the slowest.
_SCORED = 24_000


def budget_for(rows: Encoded, time_budget: float | None, max_steps: int | None) -> float:
    """Return the seconds of a fit: those asked for, or 10 to 110 growing with the cells of the table.

    With ``max_steps`` the clock decides nothing: infinity, unless a budget is asked for too.

    >>> import numpy as np
    >>> rows = Encoded(np.zeros((50_000, 20), np.int64), np.zeros((50_000, 20)))
    >>> budget_for(rows, None, None), budget_for(rows, 30.0, None), budget_for(rows, None, 100)
    (110.0, 30.0, inf)
    """
    if time_budget is not None:
        return float(time_budget)
    if max_steps is not None:
        return math.inf
    return min(_MOST, max(_LEAST, _MOST * math.sqrt(rows.state.size / _MANY)))


def splits_in(columns: int, budget: float) -> int:
    """Return how many folds there is time for, where rows are few enough to need them: 5, or 1.

    >>> splits_in(20, 10.0), splits_in(500, 10.0)
    (5, 1)
    """
    return _SPLITS if _SPLITS * columns * _COLUMN <= _READING * budget else 1


def held_in(columns: int, budget: float) -> int:
    """Return how many rows there is time to score, to hold out at most: 2,000 to 50,000.

    >>> held_in(40, 10.0), held_in(40, 110.0)
    (6000, 50000)
    """
    if math.isinf(budget):
        return MOST_HELD
    return int(max(ENOUGH, min(MOST_HELD, _SCORED * budget / columns)))
