"""ContinuousDensity: the exact density of continuous columns, as a mixture of members that data chose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffeo.distributions import FullMixture
from diffeo.errors import ConfigError, ShapeError, at_least, number, one_of
from diffeo.estimator.completion import Proposal, proposed
from diffeo.estimator.fitting import Clock, Entry, classical_entries, flow_entries
from diffeo.estimator.joining import ContextScale, joined
from diffeo.estimator.members import Members
from diffeo.estimator.portfolio import ARCHITECTURES
from diffeo.estimator.refining import refined_entries
from diffeo.estimator.table import Folds, Table, checked
from diffeo.estimator.told import Told
from diffeo.estimator.views import Array, Bound
from diffeo.flows import Flow

#: What ``architecture`` may be.
CHOICES = ("auto", *ARCHITECTURES, "gaussian", "mixture", "kernel")

#: The share of the budget that reading marginals may take.
VIEWS_SHARE = 0.2

#: Training rows that are read for each second of the budget, and in any case.
SEEN_A_SECOND, FEWEST_SEEN = 10_000, 100_000

#: Numbers that a completion holds at a time, at most.
ROOM = 4_000_000


class ContinuousDensity:
    """p(x | c) = Σₘ wₘ p_m(x | c): flows and classical densities, weighted by their held-out log-densities.

    Made by :meth:`fit`. Members are flows (trained for most of the budget, chosen by successive halving,
    or, with several folds, one for each fold, averaged), a Gaussian, a mixture of Gaussians and a kernel
    density, in coordinates in which each column is a standard normal, or standardised. Every member is an
    exact density, and so is their mixture. The weights are those of largest held-out likelihood, so that
    the result is about as good as the best member at least.

    Attributes:
        model: the members and their weights, as one module that :func:`diffeo.files.save` writes.
        report: what was tried, what was chosen, and why, line by line.
        centre: medians of the training rows: a row inside the support.

    >>> x = np.random.default_rng(0).normal(size=(200, 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]])
    >>> folds = [(np.arange(160), np.arange(160, 200))]
    >>> density, held = ContinuousDensity.fit(x, folds, budget=10, architecture="mixture")
    >>> density.log_prob(x).shape, held.shape, density.sample(3, seed=0).shape
    ((200,), (40,), (3, 2))
    """

    def __init__(self, model: Members, report: Sequence[str], centre: Array) -> None:
        if not isinstance(model, Members):
            raise ConfigError(
                f"model is a {type(model).__name__}; expected Members, as in a file, or made by fit."
            )
        self.model, self.report = model.eval(), list(report)
        self.centre = np.asarray(centre, dtype=np.float64)

    @classmethod
    def fit(
        cls,
        x: Any,
        folds: Folds,
        *,
        context: Any = None,
        low: Bound = None,
        high: Bound = None,
        budget: float,
        architecture: str = "auto",
        seed: int = 0,
        report: Callable[[str], Any] | None = None,
        steps: int | None = None,
    ) -> tuple[ContinuousDensity, Array]:
        """Return the density, and held-out log-densities under it.

        Args:
            x: rows, (rows, columns), complete.
            folds: pairs (training rows, held-out rows): one for many rows, several for few, in which each
                row is then held out once.
            context: contexts, (rows, features): numbers that the density is conditional on.
            low: lower bounds of the columns, None where there is none.
            high: upper bounds.
            budget: seconds.
            architecture: "auto", or the only kind of member beside a Gaussian: "spline-coupling",
                "spline-autoregressive", "affine", "gaussian", "mixture" or "kernel".
            seed: of everything random.
            report: told of each step as it is done.
            steps: if given, each flow takes that many steps at most and the clock decides nothing: the
                same seed then gives the same density.

        Returns:
            The density, and log p of the held-out rows in the order of the folds, each by models that
            were not trained on it, in nats.

        Raises:
            ConfigError, ShapeError, DataError: an argument cannot be used; found before training.
        """
        number("budget", budget, above=0) if budget != math.inf else None
        at_least("seed", seed, 0)
        at_least("steps", steps, 1, optional=True)
        one_of("architecture", architecture, CHOICES)
        if budget == math.inf and steps is None:
            raise ConfigError("budget=inf needs steps=…: without either, training never ends.")
        clock = Clock(time.perf_counter(), budget, steps)
        rows, pairs, given = checked(x, folds, context)
        _check_bounds(low, high, rows)
        scale = ContextScale.of(given, pairs[0][0])
        pairs = _seen_in_time(pairs, clock, seed)
        share = math.inf if steps is not None else VIEWS_SHARE * budget
        table = Table(rows, pairs, scale.apply(given), low, high, seed, seconds=share)
        log = Told(report)
        kinds = ("mixture", "kernel") if architecture == "auto" else (architecture,)
        entries = classical_entries(table, kinds, clock, seed, log)
        if architecture == "auto" or architecture in ARCHITECTURES:
            entries += flow_entries(table, architecture, clock, seed, log)
        return cls._of(entries, table, scale, log)

    def refine(
        self,
        x: Any,
        folds: Folds,
        *,
        context: Any = None,
        budget: float,
        steps: int | None = None,
        seed: int = 0,
        report: Callable[[str], Any] | None = None,
    ) -> tuple[ContinuousDensity, Array]:
        """Return a density whose flows went on training on ``x`` from where they are, and held-out values.

        Views stay as they are; classical members are fitted anew, and so are the weights. Arguments are
        those of :meth:`fit`.
        """
        at_least("steps", steps, 1, optional=True)
        clock = Clock(time.perf_counter(), budget, steps)
        rows, pairs, given = checked(x, folds, context)
        if rows.shape[1] != self.model.columns:
            raise ShapeError(
                f"x has {rows.shape[1]} columns; expected {self.model.columns}, as it was fitted to."
            )
        given_scale = ContextScale.of_model(self.model)
        standard = self.model.standard_context(given, len(rows))
        log = Told(report)
        contexts = None if standard is None else standard.numpy()
        entries, table = refined_entries(self.model, rows, pairs, contexts, clock, seed, log)
        return self._of(entries, table, given_scale, log)

    @property
    def members(self) -> list[tuple[str, float, list[Flow]]]:
        """Return each member's name, weight and flows, the heaviest first."""
        model = self.model
        weights = np.asarray(model.weights) / np.sum(model.weights)
        found = [
            (model.names[m], float(weights[m]), [model.flow(k) for k in model.flows_of(m)])
            for m in range(len(weights))
        ]
        return sorted(found, key=_weight, reverse=True)

    def log_prob(self, x: Any, context: Any = None) -> Array:
        """Return log p(x | context) of each row, in nats, float64. A row with NaN gets NaN."""
        rows = self._rows(x, "x")
        return self.model.log_prob(rows, _contexts(context))

    def sample(self, rows: int, seed: int, context: Any = None) -> Array:
        """Return draws, (rows, columns); with contexts, one draw for each of their rows."""
        at_least("rows", rows, 0)
        at_least("seed", seed, 0)
        return self.model.sample(rows, seed, _contexts(context))

    def encode(self, x: Any, context: Any = None) -> Array:
        """Return the noise of x under the heaviest flow (of the Gaussian where there is none)."""
        place, factor, loc = self._encoder()
        z = self.model.encode(place, self._rows(x, "x"), _contexts(context))
        return z if factor is None else (z - loc - self._shift(place, context, len(z))) @ factor.T

    def decode(self, u: Any, context: Any = None) -> Array:
        """Return the x that :meth:`encode` sends to ``u``."""
        place, factor, loc = self._encoder()
        z = self._rows(u, "u")
        if factor is not None:
            z = np.linalg.solve(factor, z.T).T + loc + self._shift(place, context, len(z))
        return self.model.decode(place, z, _contexts(context))

    def complete(
        self, x: Any, known: Any, context: Any = None, *, seed: int = 0, draws: int = 1
    ) -> tuple[Array, Array]:
        """Return rows with their unknown numbers drawn, and the log-weights of the draws.

        Args:
            x: rows, (rows, columns); unknown numbers are not read.
            known: booleans of the same shape.
            context: contexts of the rows.
            seed: of the draws.
            draws: for each row.

        Returns:
            ``(filled, log_weights)`` of shapes (rows, draws, columns) and (rows, draws). Draws come from
            the conditional q of the members that are mixtures of normals, each by how likely it holds what
            is known; a weight is log p(filled) − log q(unknown | known), so that the mean of the weights
            estimates p(known), and draws resampled by weight are from p(unknown | known).
        """
        at_least("draws", draws, 1)
        rows, given = self._rows(x, "x"), np.asarray(known, dtype=bool)
        if given.shape != rows.shape:
            raise ShapeError(f"known has shape {given.shape}; expected {rows.shape}, that of x.")
        members = self._proposals()
        generator = torch.Generator().manual_seed(seed)
        filled = np.empty((len(rows), draws, rows.shape[1]))
        weights = np.empty((len(rows), draws))
        contexts = _contexts(context)
        largest = max(len(member.base.get_buffer("loc")) for member in members)
        size = max(1, ROOM // (draws * rows.shape[1] * largest))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            own = None if contexts is None else contexts[part]
            filled[part], weights[part] = self._completed(
                members, rows[part], given[part], own, draws, generator
            )
        return filled, weights

    # -- inside ----------------------------------------------------------------------------------

    @classmethod
    def _of(
        cls, entries: Sequence[Entry], table: Table, scale: ContextScale, log: Told
    ) -> tuple[ContinuousDensity, Array]:
        model, held = joined(entries, table, scale, log)
        centre = np.median(table.x[table.folds[0][0][:200_000]], 0)
        return cls(model, log.lines, centre), held

    def _completed(
        self,
        members: Sequence[Proposal],
        rows: Array,
        known: NDArray[np.bool_],
        context: Array | None,
        draws: int,
        generator: torch.Generator,
    ) -> tuple[Array, Array]:
        standard = self.model.standard_context(context, len(rows))
        x, log_q = proposed(members, rows, known, standard, draws, generator)
        repeated = None if context is None else np.repeat(context, draws, 0)
        log_p = self.model.log_prob(x.reshape(-1, rows.shape[1]), repeated).reshape(log_q.shape)
        with np.errstate(invalid="ignore"):  # −∞ − −∞: nobody holds the draw possible
            return x, log_p - log_q

    def _rows(self, x: Any, name: str) -> Array:
        rows = np.asarray(x, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.model.columns:
            raise ShapeError(f"{name} has shape {rows.shape}; expected (rows, {self.model.columns}).")
        return rows

    def _places(self, classical: bool) -> list[int]:
        """Return the places of flows that are, or are not, of fixed bases, the heaviest member first."""
        model = self.model
        found = [
            k for k in range(len(model.flows)) if isinstance(model.flow(k).base, FullMixture) is classical
        ]
        return sorted(found, key=lambda k: -model.weights[model.member_of[k]])

    def _proposals(self) -> list[Proposal]:
        """Return the members that completions are drawn from: all mixtures of normals but the kernels."""
        model, total = self.model, float(np.sum(self.model.weights))
        return [
            Proposal(
                _base(model.flow(k)),
                model.view(k),
                model.weights[model.member_of[k]] / (total * len(model.flows_of(model.member_of[k]))),
            )
            for k in self._places(classical=True)
            if not _base(model.flow(k)).shared
        ]

    def _encoder(self) -> tuple[int, Array | None, Array]:
        flows = self._places(classical=False)
        if flows:
            return flows[0], None, np.zeros(0)
        single = [
            k
            for k in self._places(classical=True)
            if len(_base(self.model.flow(k)).get_buffer("log_weight")) == 1
        ]
        base = _base(self.model.flow(single[0]))
        return single[0], base.get_buffer("factor")[0].numpy(), base.get_buffer("loc")[0].numpy()

    def _shift(self, place: int, context: Any, rows: int) -> Array | float:
        standard = self.model.standard_context(_contexts(context), rows)
        if standard is None:
            return 0.0
        return (standard @ _base(self.model.flow(place)).get_buffer("slope").T).numpy()


def _seen_in_time(
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], clock: Clock, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return folds of as many training rows as a fit can see in its time; all where steps are counted."""
    most = math.inf if clock.steps is not None else max(FEWEST_SEEN, SEEN_A_SECOND * clock.budget)
    draws = np.random.default_rng(seed)
    return [
        (train if len(train) <= most else np.sort(draws.choice(train, int(most), replace=False)), held)
        for train, held in folds
    ]


def _check_bounds(low: Bound, high: Bound, rows: Array) -> None:
    for name, bound in (("low", low), ("high", high)):
        if bound is not None and len(bound) != rows.shape[1]:
            raise ShapeError(
                f"{name} has {len(bound)} numbers; expected {rows.shape[1]}, one for each column, None "
                "where there is no bound."
            )


def _contexts(context: Any) -> Array | None:
    if context is None:
        return None
    given = np.asarray(context, dtype=np.float64)
    return given if given.ndim != 2 or given.shape[1] else None


def _base(flow: Flow) -> FullMixture:
    assert isinstance(flow.base, FullMixture)
    return flow.base


def _weight(member: tuple[str, float, list[Flow]]) -> float:
    return member[1]
