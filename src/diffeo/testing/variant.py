"""A case with everything chosen: its size, context, precision, gain and seed."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections import Bijection
from diffeo.bijections.rounding import predicted_error
from diffeo.diagnostics.checks.mass import cells
from diffeo.diagnostics.checks.quadrature import Cubature
from diffeo.flows import Flow
from diffeo.kernels.circle import wrap
from diffeo.testing.cases import CONTEXT_FEATURES, Case
from diffeo.testing.stressed import stress, trained

#: Rows that a variant's data hold, and those of a dear case in a short run.
ROWS, FEW = 12, 4


@dataclass(frozen=True)
class Variant:
    """One flow under test, with data on both of its sides.

    Attributes:
        case: where it comes from.
        features: its number of features, or its event shape.
        context: "none", "shared" (one row for all) or "per row".
        dtype: the precision.
        gain: what weight matrices are multiplied by (see :func:`diffeo.testing.stress`).
        seed: of weights and data.
        training: whether it was trained for a few steps, in place of the gain.
        brief: whether a short run asks: gradcheck along random directions, and fewer rows of a dear case.
        nodes: the most evaluations that a quadrature may take, times the case's thrift.

    >>> from diffeo.testing import CASES
    >>> variant = Variant(CASES["flows.RealNVP"], 3, "per row")
    >>> variant.flow.log_prob(variant.x, variant.given).shape
    torch.Size([12])
    """

    case: Case
    features: Any
    context: str = "none"
    dtype: torch.dtype = torch.float64
    gain: float = 1.0
    seed: int = 0
    training: bool = False
    nodes: int = 50_000
    brief: bool = False

    @property
    def name(self) -> str:
        """Return what tells this variant from others of its case."""
        made = "trained" if self.training else f"gain {self.gain:g}"
        size = "×".join(str(n) for n in self.shape)
        return f"D = {size}, context {self.context}, {str(self.dtype)[6:]}, {made}, seed {self.seed}"

    @property
    def rows(self) -> int:
        """Return the rows of its data."""
        return FEW if self.sparing else ROWS

    @property
    def sparing(self) -> bool:
        """Return whether this is a short run of a dear case."""
        return self.brief and self.case.dear

    @property
    def shape(self) -> torch.Size:
        """Return the event shape."""
        return torch.Size([self.features] if isinstance(self.features, int) else self.features)

    @property
    def size(self) -> int:
        """Return the elements of an event."""
        return self.shape.numel()

    @cached_property
    def given(self) -> Tensor | None:
        """Return the context that goes with the data, or None."""
        if self.context == "none":
            return None
        rows = torch.randn(ROWS, CONTEXT_FEATURES, generator=self._generator(1), dtype=torch.float64)
        return (rows[0] if self.context == "shared" else rows[: self.rows]).to(self.dtype)

    @cached_property
    def x(self) -> Tensor:
        """Return rows of data in the case's domain, (rows, *event)."""
        x = domain_rows(self.case.domain, self.shape, ROWS, self._generator(2))
        return x[: self.rows].to(self.dtype)

    @cached_property
    def z(self) -> Tensor:
        """Return draws of the base, (rows, *event)."""
        z = self.flow.base.sample((ROWS,), self.given, generator=self._generator(3))
        return z[: self.rows].detach()

    @cached_property
    def flow(self) -> Flow:
        """Return the flow with stressed or trained parameters, in evaluation mode."""
        features = CONTEXT_FEATURES if self.context != "none" else 0
        flow = self.case.flow(self.features, features, torch.float64, self.seed)
        # More rows than columns: what is read off them has full rank.
        rows = 8 + 2 * self.size
        x = domain_rows(self.case.domain, self.shape, rows, self._generator(4))
        given = None
        if features:
            given = torch.randn(rows, features, generator=self._generator(5), dtype=torch.float64)
        made = (
            trained(flow, x, given)
            if self.training
            else stress(flow, self.gain, self.seed, x=x, context=given)
        )
        return made.to(self.dtype)

    @cached_property
    def cubature(self) -> Cubature:
        """Return the quadrature of a density of one or two features, under one context or none."""
        most = self.nodes // self.case.thrift
        # At least as fine as the mass and the sampler ask for.
        tolerance = 1e-7 if self.size == 1 else 1e-4
        given = None if self.given is None else self.given.double()
        return cells(
            copy.deepcopy(self.flow).double().eval(), given, tolerance=tolerance, most=most, seed=0
        )

    @property
    def bijection(self) -> Bijection:
        """Return the flow's bijection."""
        return self.flow.bijection

    def at(self, dtype: torch.dtype) -> Variant:
        """Return this variant with the same flow in another precision: it is not trained again."""
        other = replace(self, dtype=dtype)
        other.__dict__["flow"] = copy.deepcopy(self.flow).to(dtype)
        return other

    def side(self, inverse: bool, rows: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Return what a direction starts from: data or noise, and the context."""
        value = (self.x if inverse else self.z)[:rows]
        per_row = self.given is not None and self.given.ndim > 1
        return value, self.given[:rows] if per_row and self.given is not None else self.given

    def predicted(self, inverse: bool) -> Tensor:
        """Return the predicted round-trip error of each row of one side, found once."""
        if inverse not in self._predictions:
            value, given = self.side(inverse)
            self._predictions[inverse] = predicted_error(self.bijection, value, given, inverse=inverse)
        return self._predictions[inverse]

    @cached_property
    def _predictions(self) -> dict[bool, Tensor]:
        return {}

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(1000 * self.seed + stream)


def domain_rows(domain: str, shape: torch.Size, rows: int, generator: torch.Generator) -> Tensor:
    """Return correlated rows in a domain, float64; "raw" has columns whose units differ by 10⁴.

    >>> x = domain_rows("box", torch.Size([2]), 5, torch.Generator().manual_seed(0))
    >>> bool(((x > 0) & (x < 1)).all())
    True
    """
    noise = torch.randn((rows, shape.numel()), generator=generator, dtype=torch.float64)
    x = noise + 0.5 * noise.roll(1, -1) + 0.3
    if domain == "raw":
        k = torch.arange(shape.numel())
        x = (x + 2.0 * (k % 3)) * 10.0 ** (k % 5 - 2)
    elif domain == "positive":
        x = x.exp()
    elif domain == "box":
        x = x.sigmoid()
    elif domain == "circle":
        x = wrap(2 * x, math.pi)
    return x.reshape(rows, *shape)


def variants(
    cases: Iterable[Case],
    *,
    dtypes: Iterable[torch.dtype] = (torch.float64,),
    gains: Iterable[float] = (1.0,),
    seeds: Iterable[int] = (0,),
    largest: int = 100,
    training: bool = False,
) -> Iterator[Variant]:
    """Yield the variants of cases: every size of at most ``largest`` elements, every context."""
    for case in cases:
        for features in case.sizes:
            for context in case.contexts:
                for dtype in dtypes:
                    for gain in gains:
                        for seed in seeds:
                            found = Variant(case, features, context, dtype, gain, seed, training)
                            if found.size <= largest:
                                yield found
