"""A law the other way round."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from diffeo.errors import a_part
from diffeo.kernels.native import Compiled
from diffeo.laws.law import Law
from diffeo.registry import register


@register("laws.Inverted")
@dataclass(frozen=True)
class Inverted(Law):
    """g⁻¹ in the place of g: which direction is a formula, and which a search, changes sides.

    A layer applies its law from noise to data. A law whose inverse is a search therefore makes a flow
    whose density is a search; inverted, its density is a formula and its sample a search.

    >>> import torch
    >>> from diffeo.laws import Affine
    >>> Inverted(Affine()).forward(torch.tensor([3.0]), torch.tensor([[0.0, 1.0]]))
    (tensor([2.]), tensor([-0.]))
    """

    law: Law

    def __post_init__(self) -> None:
        a_part("law", self.law, Law, "diffeo.laws.SumOfSquares()")

    @property
    def n_params(self) -> int:
        """Return those of the law."""
        return self.law.n_params

    @property
    def breadth(self) -> int:
        """Return that of the law."""
        return self.law.breadth

    @property
    def period(self) -> float | None:
        """Return that of the law."""
        return self.law.period

    @property
    def start(self) -> tuple[float, ...] | None:
        """Return that of the law."""
        return self.law.start

    def compiled(self) -> Compiled | None:
        """Return that of the law, the other way round."""
        compiled = self.law.compiled()
        return None if compiled is None else replace(compiled, inverted=not compiled.inverted)

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return g⁻¹(u; θ) and its log-slope."""
        return self.law.inverse(u, theta)

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return g(v; θ) and its log-slope."""
        return self.law.forward(v, theta)

    def slope_bounds(self) -> tuple[float, float]:
        """Return (1 / largest, 1 / smallest)."""
        low, high = self.law.slope_bounds()
        return 1 / high if high else float("inf"), 1 / low if low else float("inf")
