"""The public conformance suite: cases, hostile inputs, faults on purpose."""

from diffeo.testing.cases import CASES, Case
from diffeo.testing.stressed import GAINS, stress, trained
from diffeo.testing.variant import Variant, variants

__all__ = ["CASES", "GAINS", "Case", "Variant", "stress", "trained", "variants"]
