"""Which flow a table is given, from its number of columns and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffeo.bijections import Whiten
from diffeo.conditioners.conditioner import hidden_sizes
from diffeo.errors import at_least, one_of
from diffeo.flows import NICE, Flow, RealNVP

#: Hidden width of a conditioner, by the number of training rows from which it is used.
_WIDTHS = ((50_000, 256), (1_000, 128), (0, 64))


@dataclass(frozen=True)
class Architecture:
    """The flow for the standardised columns of a table: whitening, then coupling layers.

    Args:
        flow: "realnvp" (affine couplings on a normal base) or "nice" (additive couplings and a diagonal
            scaling on a logistic base).
        couplings: coupling layers; 8 for "realnvp" and 4 for "nice" if not given.
        hidden: hidden widths of each conditioner; two layers, wider for more rows, if not given.

    >>> flow = Architecture(couplings=2).build(columns=3, rows=1000)
    >>> flow.event_shape
    torch.Size([3])
    """

    flow: str = "realnvp"
    couplings: int | None = None
    hidden: Sequence[int] | None = None

    def __post_init__(self) -> None:
        one_of("flow", self.flow, ("realnvp", "nice"))
        at_least("couplings", self.couplings, 1, optional=True)
        if self.hidden is not None:
            hidden_sizes(self.hidden)

    def build(self, columns: int, rows: int) -> Flow:
        """Return an untrained flow of ``columns`` features for ``rows`` training rows."""
        width = next(width for least, width in _WIDTHS if rows >= least)
        hidden = tuple(self.hidden or (width, width))
        if self.flow == "nice":
            flow = NICE(columns, couplings=self.couplings or 4, hidden=hidden)
        else:
            flow = RealNVP(
                columns, couplings=self.couplings or 8, hidden=hidden, activation="silu", batch_norm=False
            )
        return flow.then(Whiten(columns))
