"""How large a network of mixed rows is and how it is trained: from the size of the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diffeo.errors import at_least, number
from diffeo.tables.variable import Variable


@dataclass(frozen=True)
class MixedSettings:
    """Sizes and training of a :class:`~diffeo.tables.mixed.MixedRows`.

    Args:
        hidden: hidden units; 0 leaves the product of the marginals.
        blocks: residual blocks.
        components: normals in the mixture of a number.
        dropout: as for MixedRows.
        learning_rate: as for :class:`diffeo.TrainConfig`, and so are the others.
        weight_decay: of matrices.
        batch_size: rows a step.
        averaging: decay of the average of the weights.
        patience: evaluations without improvement.
        max_steps: steps, at most, also where time is left; None sets no such limit.

    Raises:
        ConfigError: a value is out of range.
    """

    hidden: int = 256
    blocks: int = 2
    components: int = 8
    dropout: float = 0.0
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2
    batch_size: int | None = None
    averaging: float = 0.99
    patience: int | None = 25
    max_steps: int | None = None

    def __post_init__(self) -> None:
        at_least("hidden", self.hidden, 0)
        at_least("blocks", self.blocks, 0)
        at_least("components", self.components, 1)
        number("dropout", self.dropout, least=0, below=1)


def settings_for(rows: int, variables: Sequence[Variable], budget: float) -> MixedSettings:
    """Return settings for a table of so many training rows, trained for so many seconds.

    >>> settings_for(50_000, [Variable("a", 2)] * 15, 60.0).hidden
    256
    """
    columns = len(variables)
    # Units grow slowly with rows, no further than the time is there to train them.
    most = 256 if budget < 300 else 512
    hidden = 2 ** round(math.log2(min(max(1.2 * math.sqrt(rows), 64), most)))
    # No column should be without a unit of its degree.
    hidden = max(hidden, 64 * math.ceil(min(columns, 512) / 64))
    return MixedSettings(
        hidden=hidden,
        blocks=2 if rows >= 2_000 else 1,
        components=8 if rows >= 1_000 else 4,
        dropout=0.2 if rows < 1_000 else 0.1 if rows < 20_000 else 0.05,
        weight_decay=0.1 if rows < 1_000 else 0.03 if rows < 20_000 else 0.01,
    )
