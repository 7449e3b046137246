"""distrax: split couplings in a chain, with haiku networks, as in its example of a flow."""

from __future__ import annotations

from typing import Any, NamedTuple

import distrax
import haiku as hk
import jax
import jax.numpy as jnp

from benchmarks.cases import Case
from benchmarks.libraries.jax_library import JaxLibrary
from benchmarks.libraries.library import Lacks


class Adapter(JaxLibrary):
    """distrax."""

    batch, rate = 128, 1e-4  # its examples/flow.py

    def make(self, case: Case, key: jax.Array) -> Any:
        """Return the weights of the networks."""
        if case.structure != "coupling":
            raise Lacks("it has no autoregressive layer")
        self.functions = hk.multi_transform(lambda: _functions(case))
        return self.functions.init(key, jnp.zeros((1, case.features)))

    def density(self, weights: Any, x: jax.Array) -> jax.Array:
        """Return log p of each row."""
        return self.functions.apply.log_prob(weights, None, x)

    def draw(self, weights: Any, key: jax.Array, rows: int) -> jax.Array:
        """Return rows of the flow."""
        return self.functions.apply.sample(weights, key, rows)


class _Functions(NamedTuple):
    log_prob: Any
    sample: Any


def _functions(case: Case) -> tuple[Any, Any]:
    d, half = case.features, case.features // 2

    def law(theta: jax.Array) -> Any:
        if case.law == "affine":
            return distrax.ScalarAffine(shift=theta[..., 0], log_scale=theta[..., 1])
        return distrax.RationalQuadraticSpline(theta, range_min=-3.0, range_max=3.0)

    n_params = 2 if case.law == "affine" else 3 * case.bins + 1

    def coupling(k: int) -> Any:
        moved = half if k % 2 else d - half
        network = hk.Sequential(
            [
                hk.nets.MLP([case.hidden, case.hidden], activation=jax.nn.relu, activate_final=True),
                hk.Linear(moved * n_params, w_init=jnp.zeros, b_init=jnp.zeros),  # as in its example
                lambda theta: theta.reshape(*theta.shape[:-1], moved, n_params),
            ]
        )
        return distrax.SplitCoupling(half, 1, network, law, swap=k % 2 == 1)

    # Inverse, as in its example: the density takes the layers' forward direction.
    bijector = distrax.Inverse(distrax.Chain([coupling(k) for k in range(case.layers)]))
    base = distrax.MultivariateNormalDiag(jnp.zeros(d), jnp.ones(d))
    flow = distrax.Transformed(base, bijector)

    def init(x: jax.Array) -> jax.Array:
        return flow.log_prob(x)

    def log_prob(x: jax.Array) -> jax.Array:
        return flow.log_prob(x)

    def sample(rows: int) -> jax.Array:
        return flow.sample(seed=hk.next_rng_key(), sample_shape=(rows,))

    return init, _Functions(log_prob, sample)
