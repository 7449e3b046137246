"""Is the density right? Each question is a function; its figures say and draw themselves.

>>> import numpy as np
>>> x = np.random.default_rng(0).normal(size=(2, 500))
>>> log_p = -0.5 * x**2 - 0.9189
>>> print(coverage(log_p[0], log_p[1]))  # doctest: +ELLIPSIS
The regions that should hold 50 % and 90 % of the rows hold 43.2 % and 90.6 % (500 rows): as ...
"""

from diffeo.diagnostics.fit.coverage import Coverage, coverage
from diffeo.diagnostics.fit.curves import LearningCurve, Seeds, learning_curve, seed_sensitivity
from diffeo.diagnostics.fit.finding import Finding
from diffeo.diagnostics.fit.held_out import Beside, Gap, HeldOut, held_out, overfitting_gap
from diffeo.diagnostics.fit.latent import Latent, latent_normality
from diffeo.diagnostics.fit.marginals import Marginals, OfColumn, OfPair, marginals
from diffeo.diagnostics.fit.pit import PIT, pit
from diffeo.diagnostics.fit.posterior import Tarp, sbc, tarp

__all__ = [
    "PIT",
    "Beside",
    "Coverage",
    "Finding",
    "Gap",
    "HeldOut",
    "Latent",
    "LearningCurve",
    "Marginals",
    "OfColumn",
    "OfPair",
    "Seeds",
    "Tarp",
    "coverage",
    "held_out",
    "latent_normality",
    "learning_curve",
    "marginals",
    "overfitting_gap",
    "pit",
    "sbc",
    "seed_sensitivity",
    "tarp",
]
