"""The public conformance suite: cases, the contract they keep, hostile inputs, faults on purpose."""

from diffeo.testing.cases import CASES, Case, laws
from diffeo.testing.contract import PROMISES, broken_promises, keep, merged, spread
from diffeo.testing.stressed import GAINS, stress, trained
from diffeo.testing.variant import Variant, variants

__all__ = [
    "CASES",
    "GAINS",
    "PROMISES",
    "Case",
    "Variant",
    "broken_promises",
    "keep",
    "laws",
    "merged",
    "spread",
    "stress",
    "trained",
    "variants",
]
