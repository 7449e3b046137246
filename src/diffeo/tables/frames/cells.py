"""A column, read: whatever library holds it, its cells are one of six sorts.

| sort | content | holds |
| --- | --- | --- |
| float | float64, NaN where missing | floating-point numbers, and the precision they had |
| whole | int64 or uint64 | integers |
| decimal | int64, units of 10^−decimals | exact decimals |
| datetime | int64 ticks of ``unit`` since 1970 (UTC) | dates and times |
| duration | int64 ticks of ``unit`` | lengths of time |
| label | int64 code into ``labels`` | text, categories, booleans, mixed objects |
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Sort = Literal["float", "whole", "decimal", "datetime", "duration", "label"]
Label = str | int | float | bool

#: Whole numbers up to here are told apart by float64.
EXACT = 2**53

#: How many ticks of each unit a second has.
TICKS = {
    "D": Fraction(1, 86400),
    "s": Fraction(1),
    "ms": Fraction(10**3),
    "us": Fraction(10**6),
    "ns": Fraction(10**9),
}


def coarser(one: str, other: str) -> str:
    """Return the precision of two in which fewer numbers are told apart.

    >>> coarser("float64", "float32")
    'float32'
    """
    return min(one, other, key=_digits)


def _digits(precision: str) -> int:
    return int(np.finfo(precision).nmant)


@dataclass(frozen=True)
class Cells:
    """The cells of one column: see the table above. ``content`` is arbitrary where ``missing``.

    ``zoned`` says whether datetimes are instants of a time zone, and not the civil time of some place;
    ``limits`` are the least and the greatest integer that the column's type holds, if it is a small one.
    """

    sort: Sort
    content: NDArray[Any]
    missing: NDArray[np.bool_]
    labels: tuple[Label, ...] = ()
    decimals: int = 0
    unit: str = ""
    precision: str = "float64"
    zoned: bool = False
    limits: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.content)

    @property
    def present(self) -> NDArray[Any]:
        """Return the content of the cells that are not missing."""
        return self.content[~self.missing]

    def numbers(self) -> NDArray[np.float64]:
        """Return float, whole and decimal cells as float64, NaN where missing."""
        values = self.content.astype(np.float64)
        if self.decimals:
            values /= 10.0**self.decimals
        values[self.missing] = np.nan
        return values

    def as_labels(self) -> Cells:
        """Return the cells as labels: the different values in their order are what codes stand for."""
        if self.sort == "label":
            return self
        found, codes = np.unique(self.present, return_inverse=True)
        content = np.zeros(len(self), dtype=np.int64)
        content[~self.missing] = codes
        return Cells("label", content, self.missing, tuple(found.tolist()))

    def objects(self) -> list[Any]:
        """Return Python values, None where missing (times stay ticks)."""
        from decimal import Decimal

        values: list[Any] = self.content.tolist()
        if self.sort == "label":
            values = [
                None if gone else self.labels[k] for k, gone in zip(values, self.missing, strict=True)
            ]
        if self.sort == "decimal":
            values = [Decimal(m).scaleb(-self.decimals) for m in values]
        return [None if gone else v for v, gone in zip(values, self.missing, strict=True)]

    def sample(self, where: NDArray[np.bool_]) -> str:
        """Return the first cell that ``where`` selects, as a message shows it."""
        row = int(np.argmax(where))
        if self.missing[row]:
            return "a missing value"
        if self.sort in ("datetime", "duration"):
            kind = "datetime64" if self.sort == "datetime" else "timedelta64"
            return str(self.content[row : row + 1].view(f"{kind}[{self.unit}]")[0])
        if self.sort == "label":
            return f"{self.labels[int(self.content[row])]!r:.60}"
        return repr(float(self.numbers()[row])) if self.sort != "whole" else str(self.content[row])
