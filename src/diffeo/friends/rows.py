"""Friends of rows of numbers: they standardise each column, and keep how."""

from __future__ import annotations

from diffeo.friends.friend import Friend
from diffeo.friends.units import Units


class RowsFriend(Friend):
    """A friend of rows (rows, columns), with the mean and scale of each column in its file."""

    def _hold_units(self, columns: int) -> None:
        self._hold("mean", columns)
        self._hold("scale", columns)

    def _keep_units(self, units: Units) -> None:
        self._hold("mean", units.mean)
        self._hold("scale", units.scale)

    def _units(self) -> Units:
        """Return the units of the fit, or raise :class:`~diffeo.errors.ConfigError`."""
        self._sizes()
        return Units(self._held("mean"), self._held("scale"))
