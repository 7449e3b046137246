"""Which kind a column is: the rules, in the order in which they are tried, and why.

| what the column holds | kind | because |
| --- | --- | --- |
| no value, or one | constant | nothing to learn; another value has density 0 |
| truth values | boolean | |
| categories (pandas; Enum; dictionary) | categorical, ordinal | the frame says so |
| text of 3 words or more on average, mostly different | text | a table's density has no words |
| other text, different in each of 20 rows or more | identifier | no row tells of another |
| other text, mixed objects | categorical | |
| whole numbers beyond 2^53, all different | identifier | float64 cannot tell them apart |
| whole numbers beyond 2^53, each in 2 rows on average | categorical | the same |
| 0 … n−1 or 1 … n in a named column; others, if named as an id | identifier | they number the rows |
| other whole numbers, also as floats | count if they stop at 0, else integer | cells of width 1 |
| at most 9 decimals, each value in 2 rows on average | rounded | at ties, densities grow without bound |
| other floats within known bounds, or with an atom at an end (0, 50) | bounded | |
| other floats, above 0 and skewed | positive | |
| other floats | continuous | |
| dates and times; lengths of time | datetime, duration | |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from diffeo.errors import DataError
from diffeo.tables.columns import shape
from diffeo.tables.columns.shape import Tally
from diffeo.tables.frames.cells import EXACT, Cells

KINDS = (
    "continuous",
    "positive",
    "bounded",
    "integer",
    "count",
    "rounded",
    "ordinal",
    "categorical",
    "boolean",
    "datetime",
    "duration",
    "constant",
    "identifier",
    "text",
)

_ROWS_FOR_IDENTIFIERS = 20
_NAMED_AS_ID = re.compile(r"(^|[^a-z])(id|uuid|guid|key|index)$|[a-z]I[dD]$", re.IGNORECASE)

#: What is said of labels that a frame holds as text, and could hold as dates.
_DATES = "ISO dates as text: convert them; "


@dataclass(frozen=True)
class Guess:
    """A kind, and why it was chosen."""

    kind: str
    why: str


def guess(name: str, cells: Cells, *, named: bool = True, declared: str = "") -> Guess:
    """Return the kind of a column.

    Args:
        name: of the column.
        cells: what it holds.
        named: the data has names for its columns; else (arrays) no number is an identifier.
        declared: "categorical" or "ordinal" where the frame says so.
    """
    present = cells.present
    if not len(present):
        return Guess("constant", "no row has a value")
    if bool((present == present[0]).all()):
        return Guess("constant", "one value")
    if cells.sort == "label":
        return _guess_labels(cells, declared)
    if cells.sort in ("datetime", "duration"):
        return Guess(cells.sort, "by its type")
    if cells.sort == "whole":
        return _guess_whole(name, cells, named)
    return _guess_numbers(cells)


def _guess_labels(cells: Cells, declared: str) -> Guess:
    labels, rows = cells.labels, len(cells.present)
    if all(isinstance(label, bool) for label in labels):
        return Guess("boolean", "truth values")
    if declared:
        return Guess(declared, "declared as categories" + (" in an order" if declared == "ordinal" else ""))
    used = np.unique(cells.present)
    texts = [labels[k] for k in used[:1000] if isinstance(labels[k], str)]
    words = float(np.mean([len(str(text).split()) for text in texts])) if texts else 0.0
    if rows >= _ROWS_FOR_IDENTIFIERS and words >= 3 and len(used) > rows / 2:
        return Guess("text", f"{len(used)} different texts of {words:.0f} words in {rows} rows")
    dates = _DATES if len(texts) == min(len(used), 1000) and _are_times(texts) else ""
    if rows >= _ROWS_FOR_IDENTIFIERS and len(used) == rows:
        return Guess("identifier", f"{dates}a different label in every row")
    return Guess("categorical", f"{dates}{len(used)} labels in {rows} rows")


def _are_times(texts: list[str]) -> bool:
    import polars as pl

    from diffeo.tables.times import parse_times

    return parse_times(pl.Series(texts, dtype=pl.String)) is not None


def _guess_whole(name: str, cells: Cells, named: bool) -> Guess:
    values = np.unique(cells.present)
    rows, distinct = len(cells.present), len(values)
    if int(values[-1]) > EXACT or int(values[0]) < -EXACT:
        if distinct == rows:
            return Guess("identifier", "whole numbers beyond 2^53, different in every row")
        if distinct <= rows / 2:
            return Guess("categorical", "whole numbers beyond 2^53, which are names more than amounts")
        raise DataError(
            f"column {name!r} holds whole numbers beyond 2^53, such as {values[-1]}, which float64 cannot "
            f"tell apart; expected smaller ones: say kinds={{{name!r}: 'categorical'}} or "
            f"kinds={{{name!r}: 'identifier'}}, or turn the column into floats, which rounds it."
        )
    if named and distinct == rows >= _ROWS_FOR_IDENTIFIERS:
        if int(values[-1]) - int(values[0]) == rows - 1 and int(values[0]) in (0, 1):
            return Guess("identifier", f"the numbers {values[0]} to {values[-1]}, each once")
        if _NAMED_AS_ID.search(name):
            return Guess("identifier", "named as one, and different in every row")
    if shape.counts_from_zero(Tally.of(cells.numbers())):
        return Guess("count", "whole numbers that stop at 0")
    return Guess("integer", "whole numbers")


def _guess_numbers(cells: Cells) -> Guess:
    tally = Tally.of(cells.numbers())
    if shape.is_whole(cells):
        if shape.counts_from_zero(tally):
            return Guess("count", "whole numbers that stop at 0")
        return Guess("integer", "all numbers are whole")
    if cells.sort == "decimal":
        return Guess("rounded", "decimals by their type")
    distinct = len(tally.values)
    if distinct <= tally.rows / 2:
        decimals = shape.decimals_of(cells)
        if decimals is not None:
            return Guess(
                "rounded", f"{decimals} decimals, {distinct} different values in {tally.rows} rows"
            )
    atoms = shape.continuous_atoms(tally)
    ends = shape.end_atoms(tally, atoms)
    if ends and distinct > shape.FEW:
        return Guess("bounded", f"many rows at its end {', '.join(f'{end:g}' for end in ends)}")
    found = shape.interval(tally)
    if found:
        return Guess("bounded", f"fills [{found[0]:g}, {found[1]:g}]")
    if shape.skewed_from_zero(tally):
        return Guess("positive", "all above 0, and skewed")
    return Guess("continuous", f"{distinct} different numbers in {tally.rows} rows")
