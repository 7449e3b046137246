"""What every model of p(x) can be asked, whatever it knows of its density.

A flow, a VAE and a GAN all draw samples. They differ in what they know of p(x), and say so:

| `density` | `log_prob(x)` |
| --- | --- |
| "exact" | log p(x) |
| "lower bound" | a stated bound that is below log p(x) on average; `describe()` says which |
| "implicit" | raises :class:`~diffeo.errors.NoDensityError`: there is none to be had |
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: What a model knows of its density.
Density = Literal["exact", "lower bound", "implicit"]

#: Told how a fit goes, a line at a time.
Report = Callable[[str], None]


@runtime_checkable
class DensityModel(Protocol):
    """A model of p(x) that is fitted to rows, and draws new ones.

    Any object with these members is one, of diffeo or not: ``isinstance`` looks at their names.

    Attributes:
        name: a few words, as "Gaussian, full covariance".
        density: what ``log_prob`` gives.
        n_parameters: how many numbers were fitted, 0 before the fit.

    >>> from diffeo.friends import Gaussian
    >>> isinstance(Gaussian(), DensityModel), Gaussian().density
    (True, 'exact')
    """

    name: str
    density: Density

    @property
    def n_parameters(self) -> int:
        """Return how many numbers were fitted, 0 before the fit.

        (A torch module's own ``parameters`` is a method; hence the name.)
        """
        ...

    def fit(self, x: Any, *, time_budget: float | None = None, report: Report | None = None) -> Self:
        """Fit to rows, and return the model.

        Args:
            x: numbers of shape (rows, columns), or (rows, *event) for a model of images.
            time_budget: seconds. Models that are trained by steps keep to it; those with a closed form or
                a search of known length take what they need.
            report: told how it goes, a line at a time.
        """
        ...

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return n draws, float64, of shape (n, *event), in the data's own units."""
        ...

    def log_prob(self, x: Any) -> Array:
        """Return for each row what ``density`` says, in nats, in the data's own units: shape (rows,)."""
        ...

    def describe(self) -> str:
        """Return what was fitted, and by what ``log_prob`` is bounded if it is a bound, in a few words."""
        ...

    def save(self, path: str | PathLike[str]) -> None:
        """Write one file, which ``diffeo.load`` reads."""
        ...
