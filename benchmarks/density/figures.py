"""What the fits of a set say: means over seeds, paired differences, who is best, and who failed.

A difference is paired: both methods had the same rows and are scored on the same test rows. Its standard
error is the larger of two: that over seeds, and that over 20 blocks of test rows (over several seeds by the
square root of their number, unless all have the published test rows). A method is *ahead* by more than two
standard errors, and *among the best* if it is at most one behind the best. A fit that raised an error, did
not end, or gave a test row no finite log-density is a failure; a method that failed is behind all that did
not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Record = dict[str, Any]

OURS = "diffeo"
RIVALS = ("zuko NSF", "zuko MAF")


@dataclass(frozen=True)
class Cell:
    """What a method reached on a set."""

    nats: float
    error: float
    seconds: float
    fits: int
    failures: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Return whether no fit failed."""
        return not self.failures and self.fits > 0


@dataclass(frozen=True)
class Difference:
    """Ours less theirs, in nats a row."""

    nats: float
    error: float

    @property
    def ahead(self) -> bool:
        """Return whether ours is higher by more than two standard errors."""
        return self.nats > 2 * self.error

    @property
    def behind(self) -> bool:
        """Return whether ours is lower by more than two standard errors."""
        return self.nats < -2 * self.error


def failure(record: Record) -> str:
    """Return why a fit counts as failed, empty if it does not."""
    if "error" in record:
        return record["error"]
    if record["part"] == "native":
        lost = record["undefined"]
        return f"{lost} test rows without a log-density" if lost else ""
    lost = record["impossible"] + record["undefined"]
    return f"{lost} of {record['test']} test rows without a finite log-density" if lost else ""


def value(record: Record) -> float:
    """Return the test nats a row in the units that are stated; −∞ of a failure."""
    if failure(record) or record["finite_nats"] is None:
        return -math.inf
    return record["finite_nats"] + record["shift"]


def cell(records: Sequence[Record]) -> Cell:
    """Return the mean over the seeds that ended well, its standard error, the time and the failures."""
    good = [value(record) for record in records if math.isfinite(value(record))]
    times = [record["fit_seconds"] for record in records if "fit_seconds" in record]
    return Cell(
        float(np.mean(good)) if good else math.nan,
        float(np.std(good, ddof=1) / math.sqrt(len(good))) if len(good) > 1 else math.nan,
        float(np.mean(times)) if times else math.nan,
        len(records),
        tuple(f"seed {record['seed']}: {failure(record)}" for record in records if failure(record)),
    )


def difference(ours: Sequence[Record], theirs: Sequence[Record]) -> Difference | None:
    """Return the paired difference over the seeds that both have; ±∞ where one failed; None without any."""
    pairs = _pairs(ours, theirs)
    if not pairs:
        return None
    values = [(value(a), value(b)) for a, b in pairs]
    failed = [any(not math.isfinite(pair[k]) for pair in values) for k in (0, 1)]
    if any(failed):
        return Difference(0.0 if all(failed) else (-math.inf if failed[0] else math.inf), 0.0)
    found = [a - b for a, b in values]
    over_seeds = float(np.std(found, ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else 0.0
    over_rows = float(np.mean([_block_error(a, b) for a, b in pairs]))
    if not ours[0].get("fixed"):
        over_rows /= math.sqrt(len(pairs))
    return Difference(float(np.mean(found)), max(over_seeds, over_rows))


def _pairs(ours: Sequence[Record], theirs: Sequence[Record]) -> list[tuple[Record, Record]]:
    by_seed = {record["seed"]: record for record in theirs}
    return [(record, by_seed[record["seed"]]) for record in ours if record["seed"] in by_seed]


def _block_error(a: Record, b: Record) -> float:
    found = [
        x - y for x, y in zip(a["blocks"], b["blocks"], strict=True) if x is not None and y is not None
    ]
    return float(np.std(found, ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else 0.0


@dataclass(frozen=True)
class Standing:
    """One set: its methods, and ours beside each of them."""

    name: str
    first: Record
    cells: dict[str, Cell]
    differences: dict[str, Difference]

    @property
    def best(self) -> str | None:
        """Return the method of the highest mean among those without a failure."""
        whole = {name: c.nats for name, c in self.cells.items() if c.whole}
        return max(whole, key=whole.__getitem__) if whole else None

    @property
    def among_the_best(self) -> bool | None:
        """Return whether ours is at most one standard error behind each other; None if not measured."""
        ours = self.cells.get(OURS)
        if ours is None or not self.differences:
            return None
        return ours.whole and all(d.nats >= -d.error for d in self.differences.values())

    @property
    def ahead_of_rivals(self) -> bool | None:
        """Return whether ours is ahead of both of zuko's flows; None unless all three were measured."""
        if any(name not in self.differences for name in RIVALS):
            return None
        return self.cells[OURS].whole and all(self.differences[name].ahead for name in RIVALS)


def standings(records: Iterable[Record], part: str) -> list[Standing]:
    """Return the sets of a part in the order in which they were measured."""
    by_set: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        if record["part"] == part and "missing" not in record:
            by_set.setdefault(record["set"], {}).setdefault(record["method"], []).append(record)
    found: list[Standing] = []
    for name, methods in by_set.items():
        cells = {method: cell(rows) for method, rows in methods.items()}
        ours = methods.get(OURS, [])
        pairs = {method: difference(ours, rows) for method, rows in methods.items() if method != OURS}
        kept = {method: d for method, d in pairs.items() if d is not None}
        found.append(Standing(name, next(iter(methods.values()))[0], cells, kept))
    return found


def share(answers: Iterable[bool | None]) -> tuple[int, int]:
    """Return how many are true, of how many that are known.

    >>> share([True, None, False, True])
    (2, 3)
    """
    known = [answer for answer in answers if answer is not None]
    return sum(known), len(known)
