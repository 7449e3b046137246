"""A fitted model as this folder sees it: its encoded rows, their log-densities, and cells as text."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, DataError
from diffeo.tables.variable import Encoded, Variable
from diffeo.understanding.labels import labels_of_cells

if TYPE_CHECKING:
    from diffeo.estimator import FlowDensity
    from diffeo.tables import Schema

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """A ``FlowDensity`` without context that was fitted.

    Attributes:
        model: the estimator.
        schema: its columns.
    """

    model: FlowDensity
    schema: Schema

    @classmethod
    def of(cls, model: Any, asked: str) -> Subject:
        """Return the subject of a question.

        Raises:
            ConfigError: ``model`` is no fitted ``FlowDensity``, or one with a context.
        """
        from diffeo.estimator import FlowDensity

        if not isinstance(model, FlowDensity):
            raise ConfigError(
                f"model is a {type(model).__name__}; expected a fitted diffeo.FlowDensity: {asked} needs "
                "the density of a table."
            )
        if not hasattr(model, "density_"):
            raise ConfigError("model is not fitted; expected a fitted diffeo.FlowDensity: call fit first.")
        if model.density_.context_schema is not None:
            raise ConfigError(
                f"model has a context; expected one without: for {asked}, fit the context's columns "
                "together with the others, with first=[…]."
            )
        return cls(model, model.density_.schema)

    @property
    def variables(self) -> list[Variable]:
        """Return the columns in the order of encoded rows."""
        return list(self.model.density_.joint.variables)

    @property
    def names(self) -> list[str]:
        """Return the names of these columns."""
        return [variable.name for variable in self.variables]

    def encode(self, data: Any, name: str) -> Encoded:
        """Return the rows of a table, encoded; impossible cells have state −1.

        Raises:
            DataError: there are no rows.
        """
        rows = encoded(self.schema, data)
        if not len(rows):
            raise DataError(f"{name} has no rows; expected some, with the columns of fit: pass others.")
        return rows

    def log_prob(self, rows: Encoded) -> Array:
        """Return log p of encoded rows, in nats."""
        return self.model.density_.joint.log_prob(rows)

    def held_out(self) -> Encoded | None:
        """Return the rows that fit held out, or None where the model came from a file without its rows."""
        from diffeo.estimator.folds import held_rows

        seen = self.model.seen_
        return None if seen is None else seen.rows.rows(held_rows(seen.folds))

    def trained_share(self, rows: Encoded) -> float:
        """Return the share of rows that the model was trained on, NaN where that is not known."""
        seen = self.model.seen_
        if seen is None or not len(rows):
            return float("nan")
        folds = seen.folds
        # One split: its held-out rows were not trained on. Folds: every row was, by all members but one.
        train = folds[0][0] if len(folds) == 1 else np.arange(len(seen.rows))
        known = {row.tobytes() for row in _packed(seen.rows.rows(train))}
        return float(np.mean([row.tobytes() in known for row in _packed(rows)]))


def encoded(schema: Schema, data: Any) -> Encoded:
    """Return the rows of a table without a warning: impossible cells are reported by who asks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return schema.encode(data)


def _packed(rows: Encoded) -> Array:
    value = np.where(np.isnan(rows.value), 0.0, rows.value) + 0.0
    return np.concatenate([rows.state.astype(np.float64), value], axis=1)


def cell_text(schema: Schema, column: int, state: int, value: float) -> str:
    """Return one cell of an encoded row as text, the column counted in the order of the model."""
    variable = schema.variables[column]
    if state < 0:
        return "a value that cannot be"
    if variable.missing and state == variable.states - 1:
        return "missing"
    coding = schema[variable.name].coding
    assert coding is not None
    cells = coding.decode(np.array([state]), np.array([value]))
    if cells.sort == "label":
        label = cells.labels[int(cells.content[0])]
        return repr(label) if isinstance(label, str) else f"{label}"
    if cells.sort in ("datetime", "duration"):
        return str(labels_of_cells(cells)[0])
    return f"{float(cells.numbers()[0]):.6g}"
