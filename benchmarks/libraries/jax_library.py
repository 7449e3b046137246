"""What the adapters of JAX libraries share: every work is one jitted function, weights donated."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.cases import Case
from benchmarks.libraries.library import RATE, Array, Lacks, Library, batches, chunks, looked_at


class JaxLibrary(Library):
    """A flow that is a pure function of its weights."""

    #: Rows a step and learning rate of the library's own examples.
    batch, rate = 100, 5e-4

    weights: Any

    @abstractmethod
    def make(self, case: Case, key: jax.Array) -> Any:
        """Return the weights of the flow of a case."""

    @abstractmethod
    def density(self, weights: Any, x: jax.Array) -> jax.Array:
        """Return log p of each row."""

    @abstractmethod
    def draw(self, weights: Any, key: jax.Array, rows: int) -> jax.Array:
        """Return rows of the flow."""

    def build(self, case: Case) -> None:
        """Make the weights, the jitted functions and the rows."""
        if case.device == "cuda" and jax.default_backend() != "gpu":
            raise Lacks("this JAX has no GPU")
        self.case, self.at = case, 0
        self.key = jax.random.key(0)
        self.weights = self.make(case, self.key)
        if case.work == "train":
            self._prepare(RATE)
            self.rows = [jnp.asarray(rows) for rows in batches(case)]
        elif case.work == "log_prob":
            found, self.count = chunks(case)
            self.rows = [jnp.asarray(rows) for rows in found]
        self.densities = jax.jit(self.density)
        self.draws = jax.jit(partial(self.draw, rows=case.rows))

    def _prepare(self, rate: float) -> None:
        adam = optax.adam(rate)

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(weights: Any, state: Any, x: jax.Array) -> tuple[Any, Any, jax.Array]:
            loss, slopes = jax.value_and_grad(lambda w: -self.density(w, x).mean())(weights)
            updates, state = adam.update(slopes, state)
            return optax.apply_updates(weights, updates), state, loss

        self.step, self.state = step, adam.init(self.weights)

    def parameters(self) -> int:
        """Return how many numbers are trained."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.weights))

    def train(self, steps: int) -> float:
        """Take steps of Adam."""
        loss = jnp.nan
        for _ in range(steps):
            self.at = (self.at + 1) % len(self.rows)
            self.weights, self.state, loss = self.step(self.weights, self.state, self.rows[self.at])
        jax.block_until_ready(self.weights)
        return float(loss)

    def log_prob(self) -> float:
        """Compute all densities."""
        total = 0.0
        for k in range(self.count):
            total += float(self.densities(self.weights, self.rows[k % len(self.rows)]).sum())
        return total / self.case.rows

    def sample(self) -> float:
        """Draw, with a new key each time."""
        self.key, key = jax.random.split(self.key)
        return float(self.draws(self.weights, key)[0, 0])

    def fit(
        self, train: Array, held: Array, seconds: float, batch: int | None
    ) -> Iterator[tuple[float, float]]:
        """Shuffle, batch and step with Adam, as the library's own loop does, under a clock."""
        size, draws = min(batch or self.batch, len(train)), np.random.default_rng(0)
        self._prepare(self.rate)

        def epoch() -> Iterator[None]:
            order = draws.permutation(len(train))
            for start in range(0, len(train) - size + 1, size):
                x = jnp.asarray(train[order[start : start + size]])
                self.weights, self.state, loss = self.step(self.weights, self.state, x)
                loss.block_until_ready()
                yield

        yield from looked_at(epoch, lambda: self.nats(held), seconds)

    def nats(self, rows: Array) -> float:
        """Return the mean of log p."""
        total = 0.0
        for start in range(0, len(rows), 4096):
            part = rows[start : start + 4096]
            padded = np.zeros((4096, rows.shape[1]), np.float32)
            padded[: len(part)] = part
            values = np.asarray(self.densities(self.weights, padded), np.float64)
            total += math.fsum(values[: len(part)])
        return total / len(rows)
