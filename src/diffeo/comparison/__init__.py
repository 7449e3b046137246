"""Models of p(x) side by side: the same rows, equal time, the same measures."""

from diffeo.comparison.compare import compare
from diffeo.comparison.contenders import CONTENDERS, Contender
from diffeo.comparison.flows import ChosenDensity, SingleFlow
from diffeo.comparison.measuring import Beside, Entry
from diffeo.comparison.progress import Step
from diffeo.comparison.result import Comparison
from diffeo.comparison.rows import Rows

__all__ = [
    "CONTENDERS",
    "Beside",
    "ChosenDensity",
    "Comparison",
    "Contender",
    "Entry",
    "Rows",
    "SingleFlow",
    "Step",
    "compare",
]
