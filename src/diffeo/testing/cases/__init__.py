"""The table of cases: every registered part, in every structure that it goes into.

A case builds one part for a number of features and of context features. The contract of
:mod:`diffeo.testing.contract` runs over all of them; a test fails when a registered kind has no case.
A new part is a line in one of the lists.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from diffeo.laws import Law
from diffeo.testing.cases.autoregressive import AUTOREGRESSIVE
from diffeo.testing.cases.bases import BASES
from diffeo.testing.cases.bijections import BIJECTIONS
from diffeo.testing.cases.case import (
    CONTEXT_FEATURES,
    CONTEXTS,
    IMAGES,
    VECTORS,
    Builder,
    Case,
    Domain,
    Features,
    coupled,
    flow_of,
    mask_of,
    mixing,
    plain,
    small_mlp,
)
from diffeo.testing.cases.circle import CIRCLE
from diffeo.testing.cases.continuous import CONTINUOUS
from diffeo.testing.cases.flows import FLOWS
from diffeo.testing.cases.images import IMAGE_CASES
from diffeo.testing.cases.laws import CONDITIONERS, LAWS, conditioner_case, law_cases
from diffeo.testing.cases.learnable_bases import LEARNABLE_BASES
from diffeo.testing.cases.linear import LINEAR
from diffeo.testing.cases.named_flows import NAMED_FLOWS
from diffeo.testing.cases.numeric_laws import NUMERIC_LAWS
from diffeo.testing.cases.residual import RESIDUAL
from diffeo.testing.cases.splines import SPLINES

__all__ = [
    "CASES",
    "CONTEXTS",
    "CONTEXT_FEATURES",
    "IMAGES",
    "VECTORS",
    "Builder",
    "Case",
    "Domain",
    "Features",
    "conditioner_case",
    "coupled",
    "flow_of",
    "law_cases",
    "laws",
    "mask_of",
    "mixing",
    "plain",
    "small_mlp",
]

#: Every case, by name.
CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        *LAWS,
        *NUMERIC_LAWS,
        *SPLINES,
        *CIRCLE,
        *CONDITIONERS,
        *AUTOREGRESSIVE,
        *BIJECTIONS,
        *LINEAR,
        *RESIDUAL,
        *CONTINUOUS,
        *BASES,
        *LEARNABLE_BASES,
        *FLOWS,
        *NAMED_FLOWS,
        *IMAGE_CASES,
    )
}


@functools.cache
def laws() -> Mapping[str, Law]:
    """Return every law that stands in a case, with its settings there, by what it prints.

    >>> laws()["Additive()"].n_params
    1
    """
    cases = (case for case in CASES.values() if case.part == "law")
    parts = (part for case in cases for part in case.make(case.sizes[1]).modules())
    found = [law for part in parts if isinstance(law := getattr(part, "law", None), Law)]
    return {repr(law): law for law in found}
