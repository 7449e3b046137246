"""Models of one's own, as users of the comparison write them."""

import math

import numpy as np

from diffeo.errors import NoDensityError, TrainingError


class Modes:
    """Draws of the 8 Gaussians, of some of their modes only: a collapsed generator."""

    name = "collapsed"
    density = "implicit"
    n_parameters = 0

    def __init__(self, kept=(0, 3)):
        self.kept, self.budgets = list(kept), []

    def fit(self, x, *, time_budget=None, report=None):
        self.budgets.append(time_budget)
        self.rows = np.array(x)
        return self

    def sample(self, n, seed=0):
        draws = np.random.default_rng(seed)
        angle = draws.choice(self.kept, n) * math.pi / 4
        return 4 / 1.414 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.5 / 1.414 * draws.normal(
            size=(n, 2)
        )

    def log_prob(self, x):
        raise NoDensityError("it only draws")

    def describe(self):
        return f"{len(self.kept)} of 8 modes"

    def save(self, path):
        raise NotImplementedError


class Standard(Modes):
    """A standard normal, whatever the data: exact, with a way to noise."""

    name = "standard"
    density = "exact"
    offset = 0.0

    def fit(self, x, *, time_budget=None, report=None):
        super().fit(x, time_budget=time_budget, report=report)
        self.event = self.rows.shape[1:]
        return self

    def sample(self, n, seed=0):
        return np.random.default_rng(seed).normal(size=(n, *self.event))

    def log_prob(self, x):
        flat = np.asarray(x).reshape(len(x), -1)
        return -0.5 * (flat**2).sum(1) - 0.5 * flat.shape[1] * math.log(2 * math.pi) + self.offset

    def encode(self, x):
        return np.asarray(x).reshape(len(x), -1)


class Bounded(Standard):
    """The same, of which only a bound is known, a tenth of a nat below."""

    name = "bounded"
    density = "lower bound"
    offset = -0.1


class Copies(Standard):
    """Training rows over again."""

    name = "copies"

    def sample(self, n, seed=0):
        draws = np.random.default_rng(seed)
        return self.rows[draws.integers(len(self.rows), size=n)] + 1e-6 * draws.normal(
            size=(n, *self.event)
        )


class Broken(Standard):
    """One that cannot be trained."""

    name = "broken"

    def fit(self, x, *, time_budget=None, report=None):
        raise TrainingError("it went to NaN")


class Wild(Standard):
    """One whose draws are not all finite, and whose density is 0 beyond 1."""

    name = "wild"

    def sample(self, n, seed=0):
        drawn = super().sample(n, seed)
        drawn[0] = np.inf
        return drawn

    def log_prob(self, x):
        return np.where(np.abs(x).max(1) < 1, -1.0, -np.inf)
