"""Densities of rows whose columns are categories, whole numbers, numbers, atoms and holes, mixed.

:class:`MixedDensity` is fitted to encoded rows; it is a mixture of :class:`MixedModel`, each of which sees
the columns through their marginals and lets :class:`MixedRows`, one masked network, say what columns tell
of one another.
"""

from diffeo.tables.mixed.density import MixedDensity
from diffeo.tables.mixed.model import MixedModel
from diffeo.tables.mixed.rows import MixedRows
from diffeo.tables.mixed.settings import MixedSettings

__all__ = ["MixedDensity", "MixedModel", "MixedRows", "MixedSettings"]
