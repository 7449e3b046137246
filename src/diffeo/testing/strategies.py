"""Hypothesis strategies: variants of cases, batch shapes, rows of a domain with its edges.

Needs the extra ``testing`` (``pip install diffeo[testing]``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from diffeo.testing.cases import CASES, Case
from diffeo.testing.stressed import GAINS
from diffeo.testing.variant import Variant, domain_rows

#: Batch shapes: none, empty, one row, several, several dimensions.
BATCHES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (5,), (2, 3), (2, 0), (1, 2, 2))

#: What an element of a row may be set to, by domain: its edges and what lies just inside them.
_EDGES: dict[str, tuple[float, ...]] = {
    "real": (0.0, -0.0, 1e-30, -1e-6, 1.0, -30.0, 1e3),
    "raw": (0.0, 1e-12, -1e6),
    "positive": (1e-30, 1e-6, 1.0, 1e6),
    "box": (1e-7, 1e-3, 0.5, 0.999),
    "circle": (0.0, 1e-30, -math.pi, math.pi, 3.14159, -3.14159),
}


@st.composite
def any_variant(draw: st.DrawFn, cases: Sequence[Case] = tuple(CASES.values())) -> Variant:
    """Draw a case and everything that it leaves open: size, context, precision, gain, seed.

    >>> from hypothesis import find
    >>> find(any_variant(), lambda variant: variant.gain == 16.0).gain
    16.0
    """
    case = draw(st.sampled_from(cases))
    return Variant(
        case,
        features=draw(st.sampled_from(case.sizes)),
        context=draw(st.sampled_from(case.contexts)),
        dtype=draw(st.sampled_from((torch.float64, torch.float32))),
        gain=draw(st.sampled_from(GAINS)),
        seed=draw(st.integers(0, 2**16)),
        training=draw(st.booleans()),
    )


@st.composite
def data_rows(draw: st.DrawFn, variant: Variant) -> tuple[Tensor, Tensor | None]:
    """Draw data of a variant in any batch shape, some elements at the edges of the domain; and a context.

    Shapes: data are batch + event; the context is None, (features,) or batch + (features,).
    """
    batch = draw(st.sampled_from(BATCHES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    count = torch.Size(batch).numel()
    x = domain_rows(variant.case.domain, variant.shape, count, generator)
    edges = draw(st.lists(st.sampled_from(_EDGES[variant.case.domain]), max_size=3))
    for value in edges if count else ():
        place: Any = torch.randint(x.numel(), (), generator=generator)
        x.view(-1)[place] = value
    x = x.reshape(*batch, *variant.shape).to(variant.dtype)
    if variant.given is None:
        return x, None
    wide = () if variant.context == "shared" else batch
    given = torch.randn((*wide, variant.given.shape[-1]), generator=generator, dtype=torch.float64)
    return x, given.to(variant.dtype)
