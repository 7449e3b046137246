"""What a table must look like: its columns by name, in the order in which they are modelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from diffeo.errors import ConfigError, DataError, did_you_mean
from diffeo.registry import register

_SHOWN = 8


def listed(names: Iterable[str]) -> str:
    """Return names quoted and joined, the first few of many.

    >>> listed(["a", "b"]), listed(str(k) for k in range(5000))
    ("'a', 'b'", "'0', '1', '2', '3', '4', '5', '6', '7' and 4992 more")
    """
    every = list(names)
    text = ", ".join(repr(name) for name in every[:_SHOWN])
    return f"{text} and {len(every) - _SHOWN} more" if len(every) > _SHOWN else text


@register("tables.Column")
@dataclass(frozen=True)
class NumericColumn:
    """One modelled column: its name, and the type it was read with when the model was fitted.

    >>> NumericColumn("width", "Float64")
    NumericColumn(name='width', dtype='Float64')
    """

    name: str
    dtype: str = "Float64"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.dtype, str):
            raise ConfigError(f"name={self.name!r} and dtype={self.dtype!r} must both be text, as 'width'.")


@register("tables.Schema")
@dataclass(frozen=True)
class NumericSchema:
    """The columns of a model, in the order of its dimensions.

    Raises:
        ConfigError: there is no column, or two have one name.

    >>> schema = NumericSchema((NumericColumn("width"), NumericColumn("length")))
    >>> schema.names
    ('width', 'length')
    >>> schema.check(["length", "colour", "width"])
    ('colour',)
    """

    columns: tuple[NumericColumn, ...]

    def __post_init__(self) -> None:
        columns = tuple(self.columns)
        if not columns or not all(isinstance(column, NumericColumn) for column in columns):
            raise ConfigError(
                f"columns={self.columns!r:.80} must be one or more NumericColumn(name, dtype)."
            )
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            raise ConfigError(f"columns has the name {_first_repeated(names)!r} twice; names must differ.")
        object.__setattr__(self, "columns", columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names, in the order of the model's dimensions."""
        return tuple(column.name for column in self.columns)

    def check(self, present: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of a table that the model does not use; their order does not matter.

        Raises:
            DataError: a column of the model is not in the table.
        """
        known = set(present)
        absent = [name for name in self.names if name not in known]
        if absent:
            spare = [name for name in present if name not in set(self.names)]
            raise DataError(
                f"column {absent[0]!r} of the model is not in the data, which has {listed(present)}."
                + did_you_mean(absent[0], spare)
                + (f" Also absent: {listed(absent[1:])}." if absent[1:] else "")
                + " Columns are matched by name: give the data a header with the model's names."
            )
        used = set(self.names)
        return tuple(name for name in present if name not in used)


def check_frame(data: object) -> None:
    """Raise :class:`DataError` unless ``data`` is a polars data frame."""
    import polars as pl

    if not isinstance(data, pl.DataFrame):
        raise DataError(
            f"data is a {type(data).__name__}; expected a polars DataFrame: pass polars.DataFrame(…) of "
            "its columns (.collect() of a lazy one), or diffeo.tables.read_table(path) of a file."
        )


def choose(
    present: Sequence[str], columns: Sequence[str] | None = None, drop: Sequence[str] = ()
) -> list[str]:
    """Return the columns to model: those named in ``columns``, or all; less those in ``drop``.

    Raises:
        DataError: a name is not in the table, or nothing is left.

    >>> choose(["a", "b", "c"], drop=["b"])
    ['a', 'c']
    """
    for argument, names in (("columns", columns or ()), ("drop", drop)):
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{argument}={names!r:.80} must be a list of names, as ['a', 'b'].")
        for name in names:
            if name not in present:
                raise DataError(
                    f"{argument} names {name!r}, which is not a column of the data; expected some of "
                    f"{listed(present)}.{did_you_mean(name, present)} Name columns as the data does."
                )
    wanted = list(dict.fromkeys(columns)) if columns else list(present)
    chosen = [name for name in wanted if name not in set(drop)]
    if not chosen:
        raise DataError(
            f"no column is left to model: the data has {listed(present)}, all left out; expected at least "
            "one. Drop fewer."
        )
    return chosen


def check_names(names: Sequence[str], shown: str) -> None:
    """Raise :class:`DataError` unless there are columns and all have different names."""
    if not names:
        raise DataError(f"{shown} has no columns; expected at least one column of numbers: add one.")
    if len(set(names)) < len(names):
        repeated = _first_repeated(names)
        places = [k + 1 for k, name in enumerate(names) if name == repeated]
        raise DataError(
            f"{shown} has {len(places)} columns named {repeated!r} (columns {places[0]} and {places[1]}"
            "); columns are matched by name: give each its own."
        )


def _first_repeated(names: Sequence[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("names are all different")
