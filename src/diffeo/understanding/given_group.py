"""p(x | group), fitted on half of the rows: the density that groups are compared by on the other half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffeo.tables.variable import Encoded
from diffeo.understanding.groups import Groups

if TYPE_CHECKING:
    from diffeo.estimator.joint import JointDensity

Array = NDArray[np.float64]

#: Log-densities further below a row's best than this count as that far below.
_DEEPEST = 50.0


@dataclass(frozen=True)
class Effort:
    """How the densities inside are fitted: ``FlowDensity``'s arguments of the same names."""

    architecture: str
    time_budget: float | None
    max_steps: int | None
    seed: int


@dataclass(frozen=True)
class GivenGroup:
    """p(columns | group, before): an exact density whose context is the group, and columns ``before``.

    Attributes:
        groups: the rows.
        context: columns of the context, the group's first.
        columns: the columns modelled.
        joint: the density of (context, columns).
    """

    groups: Groups
    context: tuple[int, ...]
    columns: tuple[int, ...]
    joint: JointDensity

    @classmethod
    def fit(
        cls, groups: Groups, columns: list[int], effort: Effort, before: list[int] | None = None
    ) -> GivenGroup:
        """Fit the density of some columns to the learning rows."""
        from diffeo.estimator.budget import budget_for
        from diffeo.estimator.folds import folds_of
        from diffeo.estimator.joint import JointDensity, Settings

        context = (groups.group, *(before or ()))
        order = [*context, *columns]
        rows = groups.rows.rows(groups.learn).columns(order)
        budget = budget_for(rows, effort.time_budget, effort.max_steps)
        # One split: every row of the other half is held out of everything that is learned here.
        joint, _ = JointDensity.fit(
            [groups.variables[k] for k in order],
            rows,
            folds_of(len(rows), effort.seed)[:1],
            Settings(effort.architecture, budget, effort.max_steps, effort.seed),
            given=len(context),
            report=_silent,
        )
        return cls(groups, context, tuple(columns), joint)

    def rows(self, rows: Encoded, place: int | None = None) -> Encoded:
        """Return rows of all columns as the density reads them, in a group if one is named."""
        own = rows.columns([*self.context, *self.columns])
        if place is not None:
            own.state[:, 0] = self.groups.states[place]
        return own

    def log_probs(self, rows: Encoded) -> Array:
        """Return log p(columns | each group), (rows, groups), none further than 50 below the row's best."""
        each = [self.joint.log_prob(self.rows(rows, k)) for k in range(len(self.groups.labels))]
        found = np.nan_to_num(np.stack(each, axis=1), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        best = found.max(axis=1, keepdims=True)
        return np.maximum(found, np.where(np.isfinite(best), best, 0.0) - _DEEPEST)

    def sample(self, rows: Encoded, place: int, seed: int) -> Encoded:
        """Return one draw for each row in a group: ``rows`` gives the other columns of the context."""
        prefix = self.rows(rows, place).columns(range(len(self.context)))
        return self.placed(rows, self.joint.sample(len(rows), seed, prefix))

    def moved(self, rows: Encoded, others: Encoded, place: int) -> Encoded:
        """Return ``others`` with the columns that ``rows`` would have in a group at the same latent."""
        latent = self.joint.encode(self.rows(rows))
        prefix = self.rows(others, place).columns(range(len(self.context)))
        return self.placed(others, self.joint.decode(latent, prefix))

    def placed(self, rows: Encoded, drawn: Encoded) -> Encoded:
        """Return rows of all columns, those of the context and the modelled ones as ``drawn`` has them."""
        found = Encoded(rows.state.copy(), rows.value.copy())
        order = [*self.context, *self.columns]
        found.state[:, order], found.value[:, order] = drawn.state, drawn.value
        return found


def _silent(line: str) -> None:
    """Say nothing."""
