"""Diagnostics: does the inverse exist, is the determinant right, is the mass one; is the fit right?

``anomalies`` and ``drift`` ask a fitted estimator and live a layer above, in :mod:`diffeo.understanding`;
they are found here too.
"""

from __future__ import annotations

import importlib
from typing import Any

from diffeo.diagnostics import fit
from diffeo.diagnostics.background import LikelihoodRatio, likelihood_ratio, perturbed
from diffeo.diagnostics.figure import Figure
from diffeo.diagnostics.report import Report
from diffeo.diagnostics.verify import verify

__all__ = ["Figure", "LikelihoodRatio", "Report", "fit", "likelihood_ratio", "perturbed", "verify"]

_ABOVE = ("anomalies", "drift")


def __getattr__(name: str) -> Any:
    if name in _ABOVE:
        return getattr(importlib.import_module("diffeo.understanding"), name)
    raise AttributeError(f"module 'diffeo.diagnostics' has no attribute {name!r}")
