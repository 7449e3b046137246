"""The rows of a fit: folds, views, and each fold's rows in each view, made when they are first needed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.bijections import Bijection
from diffeo.errors import DataError, ShapeError
from diffeo.estimator.classical import Part, Rows
from diffeo.estimator.training import WATCHED, Pair
from diffeo.estimator.views import Array, Bound, has_bounds, make_view, seen

Index = NDArray[np.int64]
Folds = Sequence[tuple[Index, Index]]

#: Training rows that classical members read, at most: with as many, nothing is gained by more.
CLASSICAL = 100_000

#: How often the reading of one column is timed before it is said to take too long: the first time in a
#: process takes several times as long.
TIMED = 3

#: Products u_i u_j that they can sum in a second, with much to spare.
PRODUCTS = 2e8


class Table:
    """Rows, folds and views.

    Args:
        x: rows, (rows, columns), float64.
        folds: training rows and held-out rows of each fold, as numbers of rows.
        context: standardised contexts, (rows, features), or None.
        low, high: bounds of the columns.
        seed: of samples.
        views: views that are there already, by kind, in place of those that would be read off the rows.
        seconds: that may be spent on views: where "gaussian" takes more, and no column has a bound, there
            is "standard" alone.
    """

    def __init__(
        self,
        x: Array,
        folds: Folds,
        context: Array | None,
        low: Bound,
        high: Bound,
        seed: int,
        views: dict[str, list[Bijection]] | None = None,
        seconds: float = math.inf,
    ) -> None:
        self.x, self.folds, self.context = x, folds, context
        self.low, self.high, self.seed = low, high, seed
        self._views = {} if views is None else {kind: list(found) for kind, found in views.items()}
        self._pairs: dict[tuple[str, int], Pair] = {}
        self._kinds = ["gaussian"] if has_bounds(low, high) else ["gaussian", "standard"]
        timed = len(self._kinds) > 1 and views is None and seconds < math.inf
        if timed and all(self._takes() > seconds for _ in range(TIMED)):
            self._kinds = ["standard"]

    @property
    def rows(self) -> int:
        """Return the fewest training rows of a fold."""
        return min(len(train) for train, _ in self.folds)

    @property
    def columns(self) -> int:
        """Return D."""
        return self.x.shape[1]

    @property
    def features(self) -> int:
        """Return the features of the context."""
        return 0 if self.context is None else self.context.shape[1]

    @property
    def held(self) -> Index:
        """Return the held-out rows of all folds, one after another."""
        return np.concatenate([held for _, held in self.folds])

    def kinds(self) -> list[str]:
        """Return the views that the columns can be seen in."""
        return self._kinds

    def _takes(self) -> float:
        """Return the seconds that "gaussian" views of all folds would take, by that of one column."""
        begun = time.perf_counter()
        make_view("gaussian", self._some(self.folds[0][0])[:, :1], seed=self.seed)
        count = len(self.folds) + (len(self.folds) > 1)
        return (time.perf_counter() - begun) * self.columns * count

    def view(self, kind: str, fold: int) -> Bijection:
        """Return the view of a fold, read off its training rows; of the last place, off all rows."""
        if kind not in self._views:
            chosen = [train for train, _ in self.folds]
            if len(chosen) > 1:
                chosen.append(np.arange(len(self.x)))
            self._views[kind] = [
                make_view(kind, self._some(index), self.low, self.high, self.seed) for index in chosen
            ]
        found = self._views[kind]
        return found[fold] if fold >= 0 else found[-1]

    def _some(self, index: Index) -> Array:
        most = 2 * CLASSICAL
        if len(index) > most:
            index = np.sort(np.random.default_rng(self.seed).choice(index, most, replace=False))
        return self.x[index]

    def pair(self, kind: str, fold: int) -> Pair:
        """Return what a flow is trained on in a fold, in float32."""
        key = kind, fold
        if key not in self._pairs:
            train, held = self.folds[fold]
            watched = held
            if len(held) > WATCHED:
                watched = np.sort(np.random.default_rng(self.seed).choice(held, WATCHED, replace=False))
            view = self.view(kind, fold)
            u, _ = seen(view, self.x, np.float32, train)
            v, log_det = seen(view, self.x, np.float32, watched)
            self._pairs[key] = Pair(
                torch.from_numpy(u),
                torch.from_numpy(v),
                self.contexts(train, torch.float32),
                self.contexts(watched, torch.float32),
                float(log_det.mean()),
            )
        return self._pairs[key]

    def contexts(self, index: Index, dtype: torch.dtype) -> Tensor | None:
        """Return the contexts of some rows."""
        return None if self.context is None else torch.from_numpy(self.context[index]).to(dtype)

    def classical(self, kind: str, seconds: float = math.inf) -> Rows:
        """Return the rows that classical members read, in float64: as many as ``seconds`` suffice for."""
        products = self.columns * (self.columns + 20) * len(self.folds)
        most = int(min(CLASSICAL, max(20 * self.columns, PRODUCTS * seconds / products)))
        parts = [self._part(kind, k, train, held, most) for k, (train, held) in enumerate(self.folds)]
        if len(parts) == 1:
            return Rows(parts, parts[0])
        nothing = np.empty(0, dtype=np.int64)
        return Rows(parts, self._part(kind, -1, np.arange(len(self.x)), nothing, most))

    def _part(self, kind: str, fold: int, train: Index, held: Index, most: int) -> Part:
        if len(train) > most:
            train = np.sort(np.random.default_rng(self.seed).choice(train, most, replace=False))
        view = self.view(kind, fold)
        u, _ = seen(view, self.x, np.float64, train)
        v, log_det = seen(view, self.x, np.float64, held)
        own, other = self.contexts(train, torch.float64), self.contexts(held, torch.float64)
        rows, left = torch.from_numpy(u), torch.from_numpy(v)
        return Part(
            rows,
            rows.new_zeros(len(rows), 0) if own is None else own,
            left,
            left.new_zeros(len(left), 0) if other is None else other,
            log_det,
        )


def checked(
    x: object, folds: Folds, context: object
) -> tuple[Array, list[tuple[Index, Index]], Array | None]:
    """Return rows, folds and contexts as arrays, or say what is wrong with them.

    Raises:
        ShapeError: x or the context is not a table, or they have different numbers of rows.
        DataError: a number is not finite, a column has one value only, or a fold has too few rows.
    """
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ShapeError(
            f"x has shape {rows.shape}; expected (rows, columns) with at least one of each: reshape it."
        )
    _check_finite("x", rows)
    if len(rows) < 3:
        raise DataError(
            f"x has {len(rows)} row(s); expected at least 3: fewer say nothing about a density. Add rows."
        )
    constant = np.flatnonzero(rows.min(0) == rows.max(0))
    if len(constant):
        k = int(constant[0])
        raise DataError(
            f"x has one value only, {rows[0, k]:g}, in column {k} ({len(constant)} such column(s)); "
            "expected columns that vary, since no density describes these. Leave them out."
        )
    given = None
    if context is not None:
        given = np.asarray(context, dtype=np.float64)
        if given.ndim != 2 or len(given) != len(rows):
            raise ShapeError(
                f"context has shape {given.shape}; expected ({len(rows)}, features): one row for each of x."
            )
        _check_finite("context", given)
        given = given if given.shape[1] else None
    pairs = [(np.asarray(train, np.int64), np.asarray(held, np.int64)) for train, held in folds]
    for k, (train, held) in enumerate(pairs):
        if len(train) < 2 or not len(held):
            raise DataError(
                f"folds[{k}] has {len(train)} training rows and {len(held)} held-out rows; expected at "
                "least 2 and 1."
            )
    if not pairs:
        raise DataError("folds is empty; expected at least one pair (training rows, held-out rows).")
    return rows, pairs, given


def _check_finite(name: str, rows: Array) -> None:
    if np.isfinite(rows.sum()):
        return
    bad = ~np.isfinite(rows).all(1)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{name} has {int(bad.sum())} row(s) with NaN or infinity, the first of them {name}[{row}]; "
            "expected finite numbers: leave such rows out."
        )
