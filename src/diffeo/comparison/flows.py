"""Flows as models among others: one flow, and the density of a table that diffeo chooses."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from diffeo.bijections import Standardize
from diffeo.errors import ConfigError
from diffeo.flows import NSF, Flow
from diffeo.friends.protocol import Density, Report
from diffeo.tables import Schema
from diffeo.training import Evaluation, TrainConfig, fit

if TYPE_CHECKING:
    from diffeo.estimator import FlowDensity

Array = NDArray[np.float64]


class SingleFlow:
    """One normalizing flow, a neural spline flow in standardised columns, trained by maximum likelihood.

    Nothing is chosen but when to stop, on a tenth of the rows.

    Args:
        seed: of the weights, the rows held out to stop, and their order.
        max_steps: steps; with it, no clock decides anything.

    >>> x = np.random.default_rng(0).normal(size=(300, 2))
    >>> flow = SingleFlow(max_steps=3).fit(x)
    >>> flow.log_prob(x).shape, flow.sample(5).shape, flow.encode(x).shape
    ((300,), (5, 2), (300, 2))
    """

    name = "neural spline flow"
    density: Density = "exact"

    def __init__(self, seed: int = 0, max_steps: int | None = None) -> None:
        self.seed, self.max_steps = seed, max_steps
        self._flow: Flow | None = None

    @property
    def flow(self) -> Flow:
        """Return the fitted flow, or raise :class:`~diffeo.errors.ConfigError`."""
        if self._flow is None:
            raise ConfigError("fit has not been called: expected fit(x) first. Call it.")
        return self._flow

    @property
    def n_parameters(self) -> int:
        """Return the number of weights, 0 before the fit."""
        return 0 if self._flow is None else sum(p.numel() for p in self._flow.parameters())

    def fit(self, x: Any, *, time_budget: float | None = None, report: Report | None = None) -> Self:
        """Train for the budget, and keep the weights of largest held-out likelihood."""
        rows = np.asarray(x, dtype=np.float64)
        features = rows.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            # Few wide splines on the plane; narrower ones in couplings where columns are many.
            wide = features <= 8
            core = NSF(features) if wide else NSF(features, structure="coupling", bins=8, hidden=(64, 64))
        flow = core.then(Standardize(features))
        config = TrainConfig(
            # Where steps are counted, no clock may set the learning rate.
            time_budget=time_budget if self.max_steps is None else None,
            max_steps=self.max_steps,
            weight_decay=1e-4 if wide else 1e-2,
            seed=self.seed,
            device="cpu",
        )
        told = None if report is None else _teller(report)
        self._result = fit(flow, rows.astype(np.float32), config=config, callback=told, progress=False)
        self._flow = flow
        return self

    def log_prob(self, x: Any) -> Array:
        """Return log p(x) for each row, in nats."""
        flow = self.flow
        with torch.no_grad():
            parts = [flow.log_prob(part) for part in _tensor(x).split(8192)]
        return torch.cat(parts).double().numpy()

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return n draws, of shape (n, columns)."""
        with torch.no_grad():
            drawn = self.flow.sample((n,), generator=torch.Generator().manual_seed(seed))
        return drawn.double().numpy()

    def encode(self, x: Any) -> Array:
        """Return z = f⁻¹(x)."""
        with torch.no_grad():
            return self.flow.encode(_tensor(x)).double().numpy()

    def describe(self) -> str:
        """Return what was trained, in a few words."""
        return (
            f"{self.n_parameters:,} weights, {self._result.steps:,} steps" if self._flow else "not fitted"
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the flow to a file that :func:`diffeo.load` reads."""
        self.flow.save(path)


class ChosenDensity:
    """:class:`diffeo.FlowDensity`: flows and classical densities, weighted by held-out rows.

    Args:
        seed: of everything random.
        max_steps: steps of each training; with it, no clock decides anything.
    """

    name = "FlowDensity"
    density: Density = "exact"

    def __init__(self, seed: int = 0, max_steps: int | None = None) -> None:
        self.seed, self.max_steps = seed, max_steps
        self._model: FlowDensity | None = None

    @property
    def model(self) -> FlowDensity:
        """Return the fitted estimator, or raise :class:`~diffeo.errors.ConfigError`."""
        if self._model is None:
            raise ConfigError("fit has not been called: expected fit(x) first. Call it.")
        return self._model

    @property
    def n_parameters(self) -> int:
        """Return how many numbers the members hold, rows that kernels stand on included."""
        density = None if self._model is None else self._model.density_.joint.continuous
        return 0 if density is None else sum(t.numel() for t in density.model.state_dict().values())

    def fit(self, x: Any, *, time_budget: float | None = None, report: Report | None = None) -> Self:
        """Choose and train within the budget."""
        from diffeo.estimator import FlowDensity

        rows = np.asarray(x, dtype=np.float64)
        self._model = FlowDensity(
            time_budget=time_budget if self.max_steps is None else None,
            max_steps=self.max_steps,
            kinds=_continuous(rows),
            random_state=self.seed,
            verbose=False,
        ).fit(rows)
        if report is not None:
            report(self.describe())
        return self

    def log_prob(self, x: Any) -> Array:
        """Return log p(x) for each row, in nats."""
        return self.model.score_samples(np.asarray(x, dtype=np.float64))

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return n draws, of shape (n, columns)."""
        return np.asarray(self.model.sample(n, random_state=seed), dtype=np.float64)

    def encode(self, x: Any) -> Array:
        """Return latent numbers, by the heaviest flow."""
        return self.model.transform(np.asarray(x, dtype=np.float64))

    def describe(self) -> str:
        """Return the heaviest member and its weight."""
        density = self.model.density_.joint.continuous
        if density is None:
            return "no continuous column"
        name, weight, _ = density.members[0]
        return f"{weight:.0%} {name.split(',')[0]}"

    def save(self, path: str | PathLike[str]) -> None:
        """Write a file that ``FlowDensity.load`` reads."""
        self.model.save(path)


def _continuous(rows: Array) -> dict[str, Any]:
    """Return the kinds of columns: numbers all, so that the density is one as that of the other models.

    Bounds are found as ever; no value is given a probability of its own.
    """
    kinds = Schema.infer(rows).kinds
    bounded = ("positive", "bounded")
    return {
        name: {"kind": kind if kind in bounded else "continuous", "atoms": []}
        for name, kind in kinds.items()
    }


def _tensor(x: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(x, dtype=np.float32))


def _teller(report: Report) -> Callable[[Evaluation], None]:
    def tell(evaluation: Evaluation) -> None:
        report(f"step {evaluation.step}: held out {-evaluation.held_out_nats:.3f} nats")

    return tell
