"""The density of mixed columns: models trained on folds, each mixed with the product of its marginals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from diffeo.errors import ConfigError, ShapeError, at_least
from diffeo.files import save
from diffeo.registry import Part, register
from diffeo.tables.mixed.columns import drawn_state
from diffeo.tables.mixed.latent import decoded, latent
from diffeo.tables.mixed.model import Completed, MixedModel
from diffeo.tables.mixed.residuals import residuals
from diffeo.tables.mixed.settings import MixedSettings
from diffeo.tables.variable import Encoded, Variable, check_encoded

Floats: TypeAlias = NDArray[np.float64]

#: Training rows, and held-out rows, by their numbers.
Folds: TypeAlias = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


@register("tables.MixedDensity")
class MixedDensity(Part, nn.Module):
    """p(row) = Σₘ wₘ pₘ(row): an exact density of rows of categories, whole numbers, atoms, holes, numbers.

    It is one with respect to counting measure on the states of the columns, times Lebesgue measure in a
    column's own units where state 0 carries a continuous number. Missing is a state like any other: what
    is stated is p(pattern of holes, observed values).

    Args:
        models: the models, of the same variables.
        weights: the weight of each, positive, of sum 1.
        given: how many leading columns are a context: the density is p(other columns | these).

    Raises:
        ConfigError: there is no model, they differ in their variables, or the weights are none.

    >>> table = [Variable("colour", levels=2), Variable("rain", levels=1, numeric=True, atoms=(0.0,))]
    >>> draws = np.random.default_rng(0)
    >>> wet = draws.random(400) < 0.5
    >>> rain = np.where(wet, draws.exponential(size=400), 0.0)
    >>> rows = Encoded(np.stack([wet, ~wet], 1).astype(int), np.stack([np.full(400, np.nan), rain], 1))
    >>> folds = [(np.arange(360), np.arange(360, 400))]
    >>> density, held = MixedDensity.fit(table, rows, folds, budget=2.0)
    >>> density.log_prob(rows).shape, held.shape, density.sample(3, seed=0).state.shape
    ((400,), (40,), (3, 2))
    """

    def __init__(self, models: Sequence[MixedModel], weights: Sequence[float], given: int = 0) -> None:
        super().__init__()
        at_least("given", given, 0)
        if not models or len(models) != len(weights):
            raise ConfigError(
                f"models has {len(models)} entries and weights {len(weights)}; expected a weight for each "
                "of at least one model."
            )
        if any(model.variables != models[0].variables for model in models):
            raise ConfigError("models are of different variables; expected models of one table.")
        if min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6:
            raise ConfigError(f"weights={list(weights)!r:.80} must be positive, with sum 1.")
        self.models = nn.ModuleList(models)
        self.weights = [float(weight) for weight in weights]
        self.given = given

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Return the columns."""
        return self._parts[0].variables

    @property
    def _parts(self) -> list[MixedModel]:
        return [model for model in self.models if isinstance(model, MixedModel)]

    @classmethod
    def fit(
        cls,
        variables: Sequence[Variable],
        encoded: Encoded,
        folds: Folds,
        *,
        budget: float,
        seed: int = 0,
        steps: int | None = None,
        given: int = 0,
        settings: MixedSettings | None = None,
        report: Callable[[str], Any] | None = None,
    ) -> tuple[MixedDensity, Floats]:
        """Fit a density to rows: on each fold a model is trained, and mixed with its start.

        The weights of trained models and of products of marginals are those that held-out rows give them
        (by EM), the same on every fold: where columns have little to say of one another, or rows are few,
        the product keeps its part, and the result is not worse than the better of the two.

        Args:
            variables: the columns, in the order in which they are modelled.
            encoded: the rows.
            folds: pairs of training rows and held-out rows, by number.
            budget: seconds, at most.
            seed: of initial weights, of the order of rows and of numbers spread over their cells.
            steps: if given, each training takes that many steps at most and the clock decides nothing: the
                same seed then gives the same density.
            given: how many leading columns are a context.
            settings: sizes and training; from the size of the table if not given.
            report: told of the progress, a line at a time.

        Returns:
            The density, and log p of the held-out rows of all folds one after another, each by models that
            were not trained on it.

        Raises:
            ConfigError, ShapeError, DataError: an argument cannot be used.
        """
        from diffeo.tables.mixed.fitting import Going, fitted, silent

        going = Going(budget, steps, given, seed, settings, report or silent)
        return fitted(tuple(variables), encoded, folds, going)

    def refine(
        self,
        encoded: Encoded,
        folds: Folds,
        *,
        budget: float,
        seed: int = 0,
        steps: int | None = None,
        report: Callable[[str], Any] | None = None,
    ) -> tuple[MixedDensity, Floats]:
        """Return a density whose trained models went on from their weights, on these rows.

        The variables stay as they are, and the marginals of trained models; their laws of states begin at
        the frequencies of these rows. The product of marginals and the weights are found anew, and where no
        model was trained, one is. Arguments and what is returned are those of :meth:`fit`.
        """
        from diffeo.tables.mixed.fitting import Going, refined, silent

        going = Going(budget, steps, self.given, seed, None, report or silent)
        return refined(self._parts, encoded, folds, going)

    def log_prob(self, encoded: Encoded, stop: int | None = None) -> Floats:
        """Return log p(columns given … stop − 1 | the given ones) of each row, in nats, float64.

        All columns without ``stop``. −∞ where the variables hold one of these cells impossible.
        """
        return mixed(self._each(encoded, stop))

    def _each(self, encoded: Encoded, stop: int | None = None) -> Floats:
        """Return log wₘ pₘ, (models, rows)."""
        each = np.stack([model.log_prob(encoded, self.given, stop) for model in self._parts])
        return each + np.log(self.weights)[:, None]

    def forward(self, encoded: Encoded) -> Floats:
        """Return ``log_prob``."""
        return self.log_prob(encoded)

    def sample(self, rows: int, seed: int, prefix: Encoded | None = None) -> Encoded:
        """Return rows drawn from the density; the same seed gives the same rows.

        Each is drawn column by column by a model that its weight drew; numbers of a lattice as the point
        whose cell a continuous draw falls into, which has exactly the probability of the cell.

        Args:
            rows: how many; not read with a prefix, which has its own number.
            seed: of the draws.
            prefix: the first columns, known: the others are drawn given these, by models that are drawn
                by their weights times how likely they hold the prefix.
        """
        at_least("rows", rows, 0)
        columns = len(self.variables)
        rows = rows if prefix is None else len(prefix)
        state, value = np.zeros((rows, columns), np.int64), np.full((rows, columns), np.nan)
        known, odds = np.zeros((rows, columns), np.bool_), None
        if prefix is not None:
            count = prefix.state.shape[1]
            state[:, :count], value[:, :count], known[:, :count] = prefix.state, prefix.value, True
            odds = self._each(Encoded(state, value), count)
        elif self.given:
            raise ConfigError(
                f"prefix is None; expected rows of the {self.given} columns that this density is given."
            )
        return self._drawn(Encoded(state, value), known, seed, missing=True, odds=odds)[0].rows

    def complete(self, encoded: Encoded, known: NDArray[np.bool_], seed: int) -> tuple[Encoded, Floats]:
        """Return each row with its unknown cells drawn, and the log-weight of the draw.

        Likelihood weighting (Fung & Chang, *Weighing and integrating evidence*, 1990): a model is drawn by
        its weight, and goes through the columns in order. An unknown cell is drawn given all before it,
        never as missing; a known one adds its log-probability given all before it to the weight, an
        unknown one the log-probability that it is not missing. Self-normalised over draws of the same row,
        the weights make draws of p(unknown cells | known cells, unknown ones not missing), and their mean
        estimates the probability of the known cells. What is known before the first unknown cell takes no
        part in that: models are drawn by how likely they hold it, and it weighs its probability under all
        of them. Where all unknown cells come last, and can be missing in no row, all weights of a row are
        the same and the draws are exact.

        Args:
            encoded: the rows; what stands in unknown cells is not read.
            known: which cells are known, (rows, columns).
            seed: of the draws.

        Raises:
            ShapeError: ``known`` has another shape than the rows.
        """
        drawn = self.complete_in_states(encoded, known, seed, None)
        return drawn.rows, drawn.weight

    def complete_in_states(
        self,
        encoded: Encoded,
        known: NDArray[np.bool_],
        seed: int,
        forced: NDArray[np.int64] | None,
    ) -> Completed:
        """Return what :meth:`complete` does, unknown cells in states that the caller chose.

        Such a cell's log-probability is no part of the weight; ``prior`` has it, as that of each state
        that was drawn. So the caller can weigh draws from any law of the states.

        Args:
            encoded: the rows; what stands in unknown cells is not read.
            known: which cells are known, (rows, columns).
            seed: of the draws.
            forced: the state of each unknown cell, (rows, columns); −1 where it is drawn, as all are under
                None. A number in state 0 is drawn.

        Raises:
            ShapeError: ``known`` has another shape than the rows.
        """
        if known.shape != encoded.state.shape:
            raise ShapeError(
                f"known has shape {known.shape}; expected {encoded.state.shape}, a truth for each cell."
            )
        check_encoded(self.variables, encoded)
        odds = np.empty((len(self.weights), len(encoded)))
        leading = np.where(known.all(1), known.shape[1], (~known).argmax(1))
        for count in np.unique(leading):
            these = np.flatnonzero(leading == count)
            odds[:, these] = self._each(encoded.rows(these), int(count))
        drawn, chosen = self._drawn(encoded, known, seed, missing=False, odds=odds, forced=forced)
        with np.errstate(invalid="ignore"):  # −∞ − −∞: no model holds what is known, and the weight is 0
            own = (odds - np.log(self.weights)[:, None])[chosen, np.arange(len(encoded))]
            weight = mixed(odds) + drawn.weight - own
        return drawn._replace(weight=np.where(np.isnan(weight), -np.inf, weight))

    def _drawn(
        self,
        encoded: Encoded,
        known: NDArray[np.bool_],
        seed: int,
        *,
        missing: bool,
        odds: Floats | None = None,
        forced: NDArray[np.int64] | None = None,
    ) -> tuple[Completed, NDArray[np.int64]]:
        """Return the rows, each weighted by the model that drew it, and which that was."""
        check_encoded(self.variables, encoded)
        at_least("seed", seed, 0)
        generator = torch.Generator().manual_seed(seed)
        state, value, weight = encoded.state.copy(), encoded.value.copy(), np.zeros(len(encoded))
        prior = np.zeros(state.shape)
        if odds is None:
            odds = np.broadcast_to(np.log(self.weights)[:, None], (len(self.weights), len(encoded)))
        best = odds.max(0)
        log_p = torch.from_numpy(odds - np.where(np.isfinite(best), best, 0.0)).T
        chosen = drawn_state(log_p.nan_to_num(nan=0.0), generator).numpy()
        for number, model in enumerate(self._parts):
            mine = np.flatnonzero(chosen == number)
            if len(mine):
                own = None if forced is None else forced[mine]
                drawn, weight[mine], prior[mine] = model.complete(
                    encoded.rows(mine), known[mine], generator, missing=missing, forced=own
                )
                state[mine], value[mine] = drawn.state, drawn.value
        return Completed(Encoded(state, value), weight, prior), chosen

    def encode(self, encoded: Encoded) -> Floats:
        """Return the latent numbers of rows, (rows, columns), NaN in given columns; see ``latent``."""
        return latent(self._heaviest(), encoded, self.given)

    def decode(self, z: Floats, prefix: Encoded | None = None) -> Encoded:
        """Return the rows of latent numbers; ``prefix`` has the given columns."""
        return decoded(self._heaviest(), z, prefix, self.given)

    def residuals(self, encoded: Encoded, seed: int) -> Floats:
        """Return residuals, (rows, columns), NaN in given columns: normal where the density is right.

        A model is drawn for each row by how likely it is to have drawn that row; see
        :mod:`~diffeo.tables.mixed.residuals`.
        """
        at_least("seed", seed, 0)
        each = self._each(encoded)
        draws = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(int(draws.integers(2**62)))
        # The largest of log p + Gumbel noise: a draw in proportion to p.
        chosen = np.argmax(np.nan_to_num(each, nan=-np.inf) + draws.gumbel(size=each.shape), 0)
        found = np.full(encoded.state.shape, np.nan)
        for m, model in enumerate(self._parts):
            mine = np.flatnonzero(chosen == m)
            if len(mine):
                found[mine] = residuals(model, encoded.rows(mine), generator, self.given)
        return found

    def _heaviest(self) -> MixedModel:
        return self._parts[int(np.argmax(self.weights))]

    def save(self, path: str | PathLike[str], extra: dict[str, Any] | None = None) -> None:
        """Write one ``.safetensors`` file that :func:`diffeo.load` reads; ``extra`` is plain JSON data."""
        save(self, path, extra)


def mixed(log_p: Floats) -> Floats:
    """Return log Σ exp over the first axis; −∞ where all are.

    >>> mixed(np.log(np.array([[0.25, 0.0], [0.5, 0.0]]) + 1e-300)).round(3).tolist()
    [-0.288, -690.082]
    """
    return np.logaddexp.reduce(log_p, 0)
