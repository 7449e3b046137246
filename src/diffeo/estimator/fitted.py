"""A fitted density with the columns that it is of: between tables as users have them and encoded rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, DataError
from diffeo.estimator.joint import JointDensity
from diffeo.tables.frames import open_frame
from diffeo.tables.schema import Schema
from diffeo.tables.variable import Encoded, Variable

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Fitted:
    """What ``FlowDensity.fit`` made.

    Attributes:
        schema: the columns.
        context_schema: those of the context, or None.
        joint: the density of encoded rows.
        held: log-densities of the held-out rows, in ascending order.
    """

    schema: Schema
    context_schema: Schema | None
    joint: JointDensity
    held: Array

    @property
    def order(self) -> list[str]:
        """Return the columns in the order of the model; those of the continuous mixture last, together."""
        return [self.joint.variables[k].name for k in self.joint.modelled]

    @property
    def leading(self) -> list[str]:
        """Return the columns that are modelled one after another, of which the first can be fixed."""
        joint = self.joint
        return [joint.variables[k].name for k in joint.ordered[joint.given :]]

    def rows(self, X: Any, context: Any) -> Encoded:
        """Return the rows of a table, encoded, the context's columns in front."""
        return encoded(self.schema, self.context_schema, X, context)

    def prefix(self, context: Any) -> Encoded | None:
        """Return the rows of a context, encoded, or None for a density without one."""
        return encoded_context(self.context_schema, context)

    def drawn(self, rows: int, seed: int, prefix: Encoded | None) -> Any:
        """Return drawn rows as a table."""
        return self.table(self.joint.sample(rows, seed, prefix))

    def table(self, rows: Encoded) -> Any:
        """Return encoded rows as a table of the kind that was given, without the context's columns."""
        return self.schema.decode(rows.columns(np.arange(self.joint.given, rows.state.shape[1])))


def variables_of(schema: Schema, context_schema: Schema | None) -> list[Variable]:
    """Return the variables of encoded rows: the context's, then the table's."""
    return [*(context_schema.variables if context_schema is not None else ()), *schema.variables]


def encoded(
    schema: Schema, context_schema: Schema | None, X: Any, context: Any, numbers: Numbers | None = None
) -> Encoded:
    """Return the rows of a table and of its context side by side, encoded; ``numbers`` are for errors."""
    prefix, rows = encoded_context(context_schema, context, numbers), schema.encode(X)
    if prefix is None:
        return rows
    if len(prefix) != len(rows):
        raise DataError(f"context has {len(prefix)} rows; expected {len(rows)}, one for each row of X.")
    return Encoded.join([prefix, rows])


def encoded_context(schema: Schema | None, context: Any, numbers: Numbers | None = None) -> Encoded | None:
    """Return the rows of a context, encoded; ``numbers`` are for errors.

    Raises:
        ConfigError: there is none where one is needed, or one where none is.
    """
    if (context is None) is not (schema is None):
        given = "None" if context is None else f"a {type(context).__name__}"
        wanted = (
            "a table of contexts, as fit was given" if context is None else "none, as fit was given none"
        )
        raise ConfigError(f"context is {given}; expected {wanted}: pass context=… to both or to neither.")
    if schema is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said by the error below
        rows = schema.encode(context)
    refuse_impossible(rows.state < 0, schema.variables, "context", "there is no density under it", numbers)
    return rows


def schemas_of(
    X: Any, context: Any, kinds: Mapping[str, Any] | Schema, first: Sequence[str]
) -> tuple[Schema, Schema | None]:
    """Return the schemas of a table and of its context; ``kinds`` are the table's where it has them.

    A whole schema is taken as it is; samples are then a table of the kind that it was made from.
    """
    if isinstance(kinds, Schema):
        if first:
            raise ConfigError(
                f"first={list(first)!r:.100} was given with a whole schema in kinds, which has an order of "
                "its own; expected one of them: pass Schema.infer(X, first=…)."
            )
        return kinds, None if context is None else Schema.infer(context)
    if context is None:
        return Schema.infer(X, kinds=kinds, first=first), None
    own, other = (set(open_frame(table).names) for table in (X, context))
    before = {name: kind for name, kind in kinds.items() if str(name) in other - own}
    kept = {name: kind for name, kind in kinds.items() if name not in before}
    return Schema.infer(X, kinds=kept, first=first), Schema.infer(context, kinds=before)


def refuse_impossible(
    impossible: NDArray[np.bool_],
    variables: Sequence[Variable],
    table: str,
    remedy: str,
    numbers: Numbers | None = None,
) -> None:
    """Raise :class:`DataError` for the first cell that the columns' kinds rule out, if there is one.

    ``numbers`` are those of the rows in the table that was given, where they are only some of it.
    """
    if impossible.any():
        row, column = map(int, np.argwhere(impossible)[0])
        row = row if numbers is None else int(numbers[row])
        raise DataError(
            f"row {row} of {table} has a value in column {variables[column].name!r} that the schema of fit "
            f"rules out; expected one as there: {remedy}."
        )
