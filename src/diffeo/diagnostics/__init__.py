"""Diagnostics: does the inverse exist, is the determinant right, is the mass one; is the fit right?"""

from diffeo.diagnostics import fit
from diffeo.diagnostics.figure import Figure
from diffeo.diagnostics.report import Report
from diffeo.diagnostics.verify import verify

__all__ = ["Figure", "Report", "fit", "verify"]
