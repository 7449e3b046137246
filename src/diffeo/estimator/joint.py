"""The density of whole rows: p(row) = p(a) · p(b | a).

a are the columns with states: categories, whole and rounded numbers, atoms, holes, and those the caller
puts first; their density is autoregressive (:class:`~diffeo.tables.mixed.MixedDensity`). b are the complete
continuous columns; theirs is a mixture of flows and classical members under a
(:class:`~diffeo.estimator.continuous.ContinuousDensity`). The measure is counting on states and lattices
and Lebesgue in each continuous column's own unit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.estimator.continuous import ContinuousDensity
from diffeo.estimator.features import Features
from diffeo.estimator.folds import Fold, held_rows
from diffeo.estimator.quantile_residuals import residuals
from diffeo.estimator.reach import check_reach, off_bounds, units_of
from diffeo.tables.mixed import MixedDensity
from diffeo.tables.mixed.marginals import nearest_inside
from diffeo.tables.variable import Encoded, Variable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """How long and what: the choices that ``FlowDensity`` hands down."""

    architecture: str
    budget: float
    steps: int | None
    seed: int


@dataclass
class JointDensity:
    """p(x | c) of rows (c, x) whose first ``given`` columns are the context c.

    Attributes:
        variables: all columns, the context's first.
        given: how many of them are context.
        ordered: the columns of a, in the order of the model.
        plain: the columns of b.
        units: what each of these columns is divided by before anything is computed: 1, or a power of two
            for columns whose squares would leave float64.
        inside: the least and the largest training value of each of these, (2, columns), strictly within
            its bounds: the density at a bound itself, where no number has mass, is said to be that there.
    """

    variables: Sequence[Variable]
    given: int
    ordered: NDArray[np.int64]
    plain: NDArray[np.int64]
    units: Array
    inside: Array
    features: Features
    mixed: MixedDensity | None
    continuous: ContinuousDensity | None

    @classmethod
    def fit(
        cls,
        variables: Sequence[Variable],
        rows: Encoded,
        folds: list[Fold],
        settings: Settings,
        *,
        given: int = 0,
        first: int = 0,
        report: Callable[[str], None],
    ) -> tuple[Self, Array]:
        """Fit both densities; also return log p of the held-out rows of all folds.

        Args:
            variables: the columns of ``rows``.
            rows: the training rows.
            folds: what is trained on and held out.
            settings: how long and what.
            given: how many leading columns are context.
            first: how many columns after these come first in the model, whatever their kind.
            report: told what is tried and chosen.
        """
        begun = time.perf_counter()
        forced = given + first
        columns = np.arange(len(variables))
        in_a = np.array([k < forced or not v.plain for k, v in enumerate(variables)], bool)
        ordered, plain = columns[in_a], columns[~in_a]
        a = rows.columns(ordered)
        modelled = len(ordered) > given
        held = held_rows(folds)
        log_p, mixed, continuous = np.zeros(len(held)), None, None
        features = Features.of([variables[k] for k in ordered], a)
        check_reach(variables, rows.value)
        chosen, units = [variables[k] for k in plain], units_of(rows.value[:, plain])
        inside = nearest_inside(chosen, rows.columns(plain)).numpy().T
        b = off_bounds(chosen, rows.value[:, plain], inside) / units
        _check_finite(chosen, b)
        if modelled:
            share = _share(len(ordered) - given, len(plain))
            mixed, of_a = MixedDensity.fit(
                [variables[k] for k in ordered],
                a,
                folds,
                budget=settings.budget * share,
                steps=settings.steps,
                seed=settings.seed,
                given=given,
                report=report,
            )
            log_p += of_a
        if len(plain):
            continuous, of_b = ContinuousDensity.fit(
                b,
                folds,
                context=features(a) if features.width else None,
                low=_in_units([v.low for v in chosen], units),
                high=_in_units([v.high for v in chosen], units),
                budget=max(settings.budget - (time.perf_counter() - begun), 0.05 * settings.budget),
                steps=settings.steps,
                architecture=settings.architecture,
                seed=settings.seed,
                report=report,
            )
            log_p += of_b - np.log(units).sum()
        return cls(variables, given, ordered, plain, units, inside, features, mixed, continuous), log_p

    def refine(
        self, rows: Encoded, folds: list[Fold], settings: Settings, *, report: Callable[[str], None]
    ) -> tuple[JointDensity, Array]:
        """Return a density whose flows went on learning on these rows, and log p of the held-out ones."""
        begun = time.perf_counter()
        a, log_p = rows.columns(self.ordered), np.zeros(len(held_rows(folds)))
        mixed, continuous = self.mixed, self.continuous
        going: dict[str, Any] = {"steps": settings.steps, "seed": settings.seed, "report": report}
        if mixed is not None:
            share = _share(len(self.ordered) - self.given, len(self.plain))
            mixed, of_a = mixed.refine(a, folds, budget=settings.budget * share, **going)
            log_p += of_a
        if continuous is not None:
            left = max(settings.budget - (time.perf_counter() - begun), 0.05 * settings.budget)
            continuous, of_b = continuous.refine(
                self.in_units(rows),
                folds,
                context=self.context_of(a),
                budget=left,
                **going,
            )
            log_p += of_b - np.log(self.units).sum()
        return replace(self, mixed=mixed, continuous=continuous), log_p

    @property
    def modelled(self) -> NDArray[np.int64]:
        """Return the columns without the context's, in the order of the model."""
        return np.concatenate([self.ordered[self.given :], self.plain])

    def log_prob(self, rows: Encoded) -> Array:
        """Return log p(x | c) for each row, in nats; −inf for a row that the columns' kinds rule out."""
        a = rows.columns(self.ordered)
        total = np.zeros(len(rows))
        if self.mixed is not None:
            total += self.mixed.log_prob(a)
        if self.continuous is not None:
            value = self.in_units(rows)
            possible = ~((rows.state[:, self.plain] < 0) | ~np.isfinite(value)).any(axis=1)
            safe = np.where(np.asarray(possible)[:, None], value, self.continuous.centre)
            of_b = self.continuous.log_prob(safe, self.context_of(a)) - np.log(self.units).sum()
            total += np.where(possible, of_b, -np.inf)
        return np.where((rows.state < 0).any(1), -np.inf, total)

    def sample(self, rows: int, seed: int, prefix: Encoded | None = None) -> Encoded:
        """Draw ``rows`` rows of all columns.

        Args:
            rows: how many; with a prefix, as many as it has.
            seed: of the draws.
            prefix: the known first columns of a, one row for each draw: the context, and columns that are
                conditioned on.
        """
        total = rows if prefix is None else len(prefix)
        if self.mixed is not None:
            a = self.mixed.sample(total, seed, prefix)
        else:
            a = _nothing(total) if prefix is None else prefix
        return self.joined(a, self._plain(a, seed))

    def encode(self, rows: Encoded) -> Array:
        """Return the latent numbers of rows: those of a, then of b; normal where the model is right."""
        a = rows.columns(self.ordered)
        parts: list[Array] = []
        if self.mixed is not None:
            parts.append(self.mixed.encode(a)[:, self.given :])
        if self.continuous is not None:
            value = self.in_units(rows)
            parts.append(self.continuous.encode(value, self.context_of(a)))
        return np.concatenate(parts, 1)

    def residuals(self, rows: Encoded, seed: int) -> Array:
        """Return residuals of rows, those of a, then of b: standard normal where the density is right.

        NaN in the cells of a row that the columns' kinds rule out.
        """
        a = rows.columns(self.ordered)
        parts: list[Array] = []
        if self.mixed is not None:
            parts.append(self.mixed.residuals(a, seed)[:, self.given :])
        if self.continuous is not None:
            value = self.in_units(rows)
            possible = ~((rows.state[:, self.plain] < 0) | ~np.isfinite(value)).any(axis=1)
            safe = np.where(np.asarray(possible)[:, None], value, self.continuous.centre)
            found = residuals(self.continuous.model, safe, seed, self.context_of(a))
            parts.append(np.where(np.asarray(possible)[:, None], found, np.nan))
        return np.concatenate(parts, 1)

    def decode(self, latent: Array, context: Encoded | None = None) -> Encoded:
        """Return the rows of latent numbers."""
        width = len(self.ordered) - self.given if self.mixed is not None else 0
        if self.mixed is not None:
            a = self.mixed.decode(latent[:, :width], context)
        else:
            a = _nothing(len(latent)) if context is None else context
        if self.continuous is None:
            return self.joined(a, np.zeros((len(latent), 0)))
        b = self.continuous.decode(latent[:, width:], self.context_of(a)) * self.units
        return self.joined(a, b)

    def joined(self, a: Encoded, b: Array) -> Encoded:
        """Return whole rows, columns in the order of ``variables``."""
        state = np.zeros((len(a), len(self.variables)), np.int64)
        value = np.full(state.shape, np.nan)
        state[:, self.ordered], value[:, self.ordered] = a.state, a.value
        value[:, self.plain] = b
        return Encoded(state, value)

    def context_of(self, a: Encoded) -> Array | None:
        """Return what the members of p(b | a) see of a."""
        return self.features(a) if self.features.width else None

    def in_units(self, rows: Encoded) -> Array:
        """Return the values of b in units, a number at its bound as the nearest of ``inside``."""
        chosen = [self.variables[k] for k in self.plain]
        return off_bounds(chosen, rows.value[:, self.plain], self.inside) / self.units

    def _plain(self, a: Encoded, seed: int) -> Array:
        if self.continuous is None:
            return np.zeros((len(a), 0))
        with np.errstate(over="ignore"):
            drawn = self.continuous.sample(len(a), seed, self.context_of(a)) * self.units
        return np.nan_to_num(drawn, posinf=np.finfo(np.float64).max, neginf=np.finfo(np.float64).min)


def _share(ordered: int, plain: int) -> float:
    """Return the part of the time that p(a) is given: by its share of the columns."""
    return ordered / (ordered + plain)


def _nothing(rows: int) -> Encoded:
    """Return rows of no columns."""
    return Encoded(np.zeros((rows, 0), np.int64), np.zeros((rows, 0)))


def _check_finite(variables: Sequence[Variable], values: Array) -> None:
    """Raise, before anything is trained, where numbers in units of their column are beyond float64."""
    beyond = ~np.isfinite(values).all(0)
    if beyond.any():
        raise DataError(
            f"column {variables[int(beyond.argmax())].name!r} has numbers too far apart for their spread; "
            "expected some that float64 holds in units of it: model its logarithm, or leave it out."
        )


def _in_units(bounds: Sequence[float | None], units: Array) -> list[float | None]:
    return [None if bound is None else bound / unit for bound, unit in zip(bounds, units, strict=True)]
