"""The schema of any table: what each column is, found from the data, shown, edited, saved.

>>> import numpy as np, polars as pl
>>> rng = np.random.default_rng(0)
>>> frame = pl.DataFrame({
...     "height": rng.normal(170, 8, 400),
...     "children": rng.poisson(1.5, 400),
...     "city": rng.choice(["Bern", "Basel", None], 400),
... })
>>> schema = Schema.infer(frame)
>>> print(schema)  # doctest: +NORMALIZE_WHITESPACE
column    kind         why                                details
height    continuous   400 different numbers in 400 rows
children  count        whole numbers that stop at 0       from 0; spacing 1; atoms 0, 1, 2, … (7)
city      categorical  2 labels in 248 rows               2 levels: 'Basel', 'Bern'; missing values
>>> encoded = schema.encode(frame)
>>> schema.decode(encoded).equals(frame)
True
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, DataError, FileError, a_path, did_you_mean
from diffeo.tables.columns import Column
from diffeo.tables.columns.coding import IMPOSSIBLE
from diffeo.tables.frames import Frame, open_frame, write_frame
from diffeo.tables.inferring import infer_column, one_name, said, several, warn_of_identifiers
from diffeo.tables.listing import Tallied, as_html, as_text
from diffeo.tables.numeric_schema import listed
from diffeo.tables.variable import Encoded, Variable, check_encoded

_VERSION = 1


@dataclass(frozen=True)
class Schema:
    """What each column of a table is; made with :meth:`infer`.

    Attributes:
        columns: in the order of the table.
        order: the modelled ones, in the order of the model.
        library: numpy, pandas, polars or pyarrow: what :meth:`decode` returns.
        dtype: of a numpy array.
    """

    columns: tuple[Column, ...]
    order: tuple[str, ...]
    library: str
    dtype: str = ""
    frame: Frame | None = field(default=None, compare=False, repr=False)

    @classmethod
    def infer(
        cls,
        data: Any,
        *,
        kinds: Mapping[Any, str | Mapping[str, Any]] | None = None,
        first: Iterable[Any] = (),
    ) -> Schema:
        """Return the schema of a table; the rules are those of :mod:`diffeo.tables.columns.rules`.

        An identifier is left out, with a warning; a constant stays, with its one state.

        Args:
            data: a numpy array (rows, columns), or a frame of pandas, polars (lazy ones are collected),
                pyarrow, or another library that narwhals knows.
            kinds: a kind by column, where the rules are wrong: ``{"zip": "categorical"}``, or with details,
                ``{"share": {"kind": "bounded", "low": 0, "high": 1}}``.
            first: columns that the model puts first (it can be conditioned on these).

        Raises:
            DataError: ``data`` is no table or has no rows, or a column is text, infinite or of a type that
            is no
                column's; it is named, with what to do.
            ConfigError: a kind or a detail is not known.
        """
        frame = open_frame(data)
        if not frame.rows:
            raise DataError(
                f"data has no rows, and columns {listed(frame.names)}; expected at least one row."
            )
        told = {
            one_name("kinds", frame.names, name): said(name, kind) for name, kind in (kinds or {}).items()
        }
        columns = tuple(infer_column(frame, k, told.get(name)) for k, name in enumerate(frame.names))
        warn_of_identifiers([c for c in columns if c.coding is None and c.name not in told])
        modelled = [column.name for column in columns if column.coding is not None]
        if not modelled:
            raise DataError(
                f"no column is left to model: {listed(frame.names)} are identifiers; expected one to "
                "learn: say what it is, as kinds={'name': 'categorical'}."
            )
        leading = [one_name("first", modelled, name) for name in several("first", first)]
        order = tuple(dict.fromkeys([*leading, *modelled]))
        return cls(columns, order, frame.library, frame.dtype, frame)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Return how each modelled column is modelled, in the order of the model."""
        by_name = {column.name: column for column in self.columns}
        return tuple(coding.variable for name in self.order if (coding := by_name[name].coding) is not None)

    @property
    def kinds(self) -> dict[str, str]:
        """Return the kind of each column."""
        return {column.name: column.kind for column in self.columns}

    def __getitem__(self, name: str) -> Column:
        """Return the column of this name."""
        known = one_name("column", [column.name for column in self.columns], name)
        return next(column for column in self.columns if column.name == known)

    def with_kind(self, name: str, kind: str, data: Any = None, **details: Any) -> Schema:
        """Return a schema in which a column is of another kind, found anew from the data.

        Args:
            name: the column.
            kind: what it is.
            data: the table; not needed while the schema still has the one it was made from (a loaded one
                has none).
            details: of the kind: ``levels`` (ordinal: in order), ``low``, ``high``, ``atoms``, ``lattice``;
                and ``missing``, whether the column can have holes, where the data do not show it.

        Raises:
            DataError: the column does not hold what the kind needs.
            ConfigError: there is no data, or a detail is not known.
        """
        name = self[name].name
        frame = self.frame if data is None else open_frame(data)
        if frame is None:
            raise ConfigError(
                "data is not given and the schema no longer has its own; expected the table: pass "
                "with_kind(…, data=table)."
            )
        place = self._place(frame, name)
        made = infer_column(frame, place, {"kind": kind, **details})
        made = replace(made, key=self[name].key, storage=self[name].storage)
        columns = tuple(made if column.name == name else column for column in self.columns)
        modelled = [column.name for column in columns if column.coding is not None]
        if not modelled:
            raise DataError(f"no column is left to model without {name!r}; expected one: keep it.")
        order = [*(n for n in self.order if n in modelled), *modelled]
        return replace(self, columns=columns, order=tuple(dict.fromkeys(order)))

    def encode(self, data: Any) -> Encoded:
        """Return the rows of a table as states and values, in the order of the model.

        Columns are matched by name (others are ignored), those of an array by position: it has all columns,
        or only the modelled ones, as :meth:`decode` returns them. A cell that the schema says cannot be (a
        label that was not there before, a number beyond a bound, a hole in a column that had none) has
        state −1: its row has density 0. A float between two of a rounded column is encoded as the nearer
        one. One warning counts both by column.

        Raises:
            DataError: a column is absent, or holds another sort of thing.
        """
        frame = open_frame(data)
        state = np.empty((frame.rows, len(self.order)), dtype=np.int64, order="F")
        value = np.empty((frame.rows, len(self.order)), dtype=np.float64, order="F")
        odd, moved = (
            Tallied("cells that the schema says cannot be"),
            Tallied("numbers between two possible"),
        )
        for j, name in enumerate(self.order):
            cells = frame.read(self._place(frame, name))
            coding = self[name].coding
            assert coding is not None
            state[:, j], value[:, j] = coding.encode(cells)
            odd.add(name, cells, state[:, j] == IMPOSSIBLE)
            moved.add(name, cells, coding.moved(cells, value[:, j]))
        texts = [f"{odd}. Their rows have density 0."] if odd.columns else []
        texts += [f"{moved}. Their rows have the density of the nearest."] if moved.columns else []
        if texts:
            warnings.warn(" ".join(texts), UserWarning, stacklevel=2)
        return Encoded(state, value)

    def holes(self, data: Any) -> NDArray[np.bool_]:
        """Return which cells of a table are missing, (rows, columns), in the order of the model."""
        frame = open_frame(data)
        return np.stack([frame.read(self._place(frame, name)).missing for name in self.order], axis=1)

    def decode(self, encoded: Encoded) -> Any:
        """Return rows as a table of the kind that the schema was made from: names, order, dtypes,
        categories.

        What :meth:`encode` read comes back as it was; continuous numbers to the last bit too, and times to
        the nearest tick. Identifiers are left out.

        Raises:
            DataError: a state is none of the column's.
            ShapeError: ``encoded`` has another number of columns.
        """
        variables = self.variables
        check_encoded(variables, encoded)
        for j, variable in enumerate(variables):
            states = encoded.state[:, j]
            if len(states) and (states.min() < 0 or states.max() >= variable.states):
                odd = states.min() if states.min() < 0 else states.max()
                raise DataError(
                    f"column {variable.name!r} has state {odd}; expected 0 … {variable.states - 1}: rows "
                    "that cannot be under the schema have no table."
                )
        place = {name: j for j, name in enumerate(self.order)}
        kept = [column for column in self.columns if column.coding is not None]
        cells = [
            column.coding.decode(encoded.state[:, place[column.name]], encoded.value[:, place[column.name]])
            for column in kept
            if column.coding is not None
        ]
        keys, storages = [column.key for column in kept], [dict(column.storage) for column in kept]
        return write_frame(self.library, keys, cells, storages, self.dtype)

    def _place(self, frame: Frame, name: str) -> int:
        names = [column.name for column in self.columns]
        if frame.library == "numpy":
            modelled = [column.name for column in self.columns if column.coding is not None]
            if len(frame.names) == len(modelled) < len(names) and name in modelled:
                return modelled.index(name)
            if len(frame.names) != len(names):
                fewer = (
                    f" (or {len(modelled)}: without what is left out)" if len(modelled) < len(names) else ""
                )
                raise DataError(
                    f"data has {len(frame.names)} columns; expected {len(names)}: {listed(names)}, in this "
                    f"order{fewer}."
                )
            return names.index(name)
        if name not in frame.names:
            raise DataError(
                f"column {name!r} is not in the data, which has {listed(frame.names)}."
                f"{did_you_mean(name, frame.names)} Columns are matched by name: give the data these names."
            )
        return frame.names.index(name)

    def __str__(self) -> str:
        return as_text(self.columns)

    def _repr_html_(self) -> str:
        return as_html(self.columns)

    def to_json(self) -> dict[str, Any]:
        """Return the schema in plain JSON values; the data it was made from is not in it."""
        return {
            "version": _VERSION,
            "library": self.library,
            "dtype": self.dtype,
            "order": list(self.order),
            "columns": [column.to_json() for column in self.columns],
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Schema:
        """Return the schema that :meth:`to_json` wrote.

        Raises:
            FileError: it is none, or of a later version.
        """
        try:
            if told["version"] != _VERSION:
                raise FileError(
                    f"the schema has version {told['version']!r:.20}; expected {_VERSION}: read it with "
                    "a later diffeo."
                )
            columns = tuple(Column.from_json(column) for column in told["columns"])
            schema = cls(columns, tuple(told["order"]), told["library"], told["dtype"])
            complete = set(schema.order) == {c.name for c in columns if c.coding is not None}
        except (KeyError, TypeError, AttributeError, ConfigError) as error:
            raise FileError(f"this is no schema: {error!r:.200}; expected what to_json() wrote.") from error
        if not complete or schema.library not in ("numpy", "pandas", "polars", "pyarrow"):
            raise FileError("this is no schema: order and columns differ; expected what to_json() wrote.")
        return schema

    def save(self, path: str | PathLike[str]) -> None:
        """Write the schema to a JSON file."""
        a_path("path", path)
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        Path(path).write_text(text, "utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Schema:
        """Return the schema in a JSON file.

        Raises:
            FileError: the file has none.
        """
        a_path("path", path)
        try:
            return cls.from_json(json.loads(Path(path).read_text("utf-8")))
        except (OSError, ValueError) as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"{path} cannot be read: {error}; expected a file of Schema.save.") from error

    def detached(self) -> Schema:
        """Return the schema without the data that it was made from."""
        return replace(self, frame=None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "frame": None}
