"""One measured figure: what was checked, the worst that was seen, and the limit it must keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """The outcome of one check.

    Attributes:
        name: what was checked, as "round trip z → x → z, float32".
        worst: the worst value seen (an error, a count of failures); NaN counts as failed.
        limit: the largest value that passes.
        tested: how many independent things (rows, draws, inputs) were tested.
        failed: how many of them failed.
        layer: the layer at fault in a chain, as "2: Coupling", or "" when none or unknown.
        detail: one sentence for a person: what was found, what it means.
        figure: the label of the published figure this one belongs to ("A3"), or "".

    >>> Figure("round trip", worst=2e-7, limit=1e-5, tested=100, failed=0).ok
    True
    """

    name: str
    worst: float
    limit: float
    tested: int
    failed: int
    layer: str = ""
    detail: str = ""
    figure: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing failed and the worst value keeps the limit (NaN does not)."""
        return self.failed == 0 and self.worst <= self.limit
