"""What friends share: how a fit of data-dependent size stands in a file, and how arguments are checked."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffeo.errors import ConfigError, at_least, number
from diffeo.friends.protocol import Density, Report
from diffeo.registry import Part

Array = NDArray[np.float64]

#: What a fit says of its tensors, in plain JSON: columns, components, the shape of an event, …
Sizes = dict[str, Any]


class Friend(Part, nn.Module):
    """A model whose settings are given, and whose tensors are made when it is fitted.

    The constructor takes the settings, and ``fitted``: the sizes of the tensors of a fit (columns,
    components, …), which only a model file gives. ``fit`` finds the sizes, calls :meth:`_become` with
    them, which makes the tensors, and fills these; a file then says settings and sizes, and holds the
    tensors. A subclass sets its settings, calls :meth:`_restore` last, and implements :meth:`_make` and
    :meth:`_count`.
    """

    name: str
    density: Density = "exact"  # what most are
    fitted: Sizes | None = None

    def _make(self, sizes: Sizes) -> None:
        """Make the tensors and networks of a fit of these sizes."""
        raise NotImplementedError  # abstract

    def _restore(self, fitted: Sizes | None) -> None:
        """Make the tensors that a file will fill; nothing for a model that is not fitted yet."""
        if fitted is not None:
            self._become(**fitted)

    def _become(self, **sizes: Any) -> None:
        """Make the tensors of these sizes, and have files say the sizes."""
        self._make(sizes)
        self.fitted = self._config["fitted"] = dict(sizes)

    def _note(self, **facts: Any) -> None:
        """Keep what else a fit has to say, as plain numbers and text, in files too."""
        self.fitted = self._config["fitted"] = {**self._sizes(), **facts}

    def _hold(self, name: str, value: Any) -> None:
        """Keep an array as a buffer of float64; an int or a shape makes one of zeros."""
        if isinstance(value, int | tuple):
            self.register_buffer(name, torch.zeros(value, dtype=torch.float64))
        else:
            self.get_buffer(name).copy_(torch.as_tensor(np.asarray(value)))

    def _held(self, name: str) -> Array:
        """Return a buffer as a float64 array."""
        return as_array(self.get_buffer(name))

    def _sizes(self) -> Sizes:
        """Return the sizes of the fit, or raise :class:`ConfigError`."""
        if self.fitted is None:
            raise ConfigError(
                "fit has not been called: the model is not fitted yet; expected fit(x) first. Call it."
            )
        return self.fitted

    @property
    def n_parameters(self) -> int:
        """Return how many numbers were fitted, 0 before the fit."""
        return 0 if self.fitted is None else self._count(self.fitted)

    def _count(self, sizes: Sizes) -> int:
        """Return how many numbers a fit of these sizes has."""
        raise NotImplementedError  # abstract

    def save(self, path: str | PathLike[str]) -> None:
        """Write one ``.safetensors`` file that :func:`diffeo.load` reads; see :mod:`diffeo.files`."""
        from diffeo.files import save

        self._sizes()
        save(self, path)


def as_array(tensor: Tensor) -> Array:
    """Return a tensor, wherever it lives, as a float64 array."""
    return tensor.detach().cpu().double().numpy()


def check_fit(time_budget: float | None, report: Report | None) -> None:
    """Raise :class:`ConfigError` unless these are arguments of ``fit``."""
    number("time_budget", time_budget, above=0, optional=True)
    if report is not None and not callable(report):
        raise ConfigError(
            f"report is a {type(report).__name__}; expected a function of one line of text: pass print."
        )


def draws_of(n: int, seed: int) -> np.random.Generator:
    """Return the source of ``n`` draws, or raise :class:`ConfigError`."""
    at_least("n", n, 0)
    at_least("seed", seed, 0)
    return np.random.default_rng(seed)
