"""Diagnostics: does the inverse exist, is the determinant right, is the mass one?"""

from diffeo.diagnostics.figure import Figure

__all__ = ["Figure"]
