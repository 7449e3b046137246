"""flowjax's spline coupling flow and masked autoregressive flow, trained as its ``fit_to_data`` does.

That loop has no clock. It is written out here with its own step, batches and loss, and its defaults: Adam
at 5e-4, batches of 100, the best weights after 5 epochs without a rise; it may take more than 100 epochs
where there is time. What is compiled is compiled before the clock starts, since a tenth of a minute of it
would be most of a short budget. Standardised by the training rows; sizes are the library's defaults,
splines those of its examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow, masked_autoregressive_flow
from flowjax.train.losses import MaximumLikelihoodLoss
from flowjax.train.train_utils import get_batches, step

from benchmarks.density.methods.method import Fitted, trained
from benchmarks.density.protocol import Array
from diffeo.friends.units import Units

RATE, BATCH, PATIENCE = 5e-4, 100, 5


def fit(kind: str, train: Array, validation: Array, seconds: float, seed: int) -> Fitted:
    """Train the flow ``kind`` ("NSF" or "MAF")."""
    units = Units.of(train)
    rows, others = (jnp.asarray(units.to_standard(x), jnp.float32) for x in (train, validation))
    key, made = jr.split(jr.key(seed))
    base = Normal(jnp.zeros(train.shape[1]))
    if kind == "NSF":
        spline = RationalQuadraticSpline(knots=8, interval=4)
        flow = coupling_flow(made, base_dist=base, transformer=spline)
    else:
        flow = masked_autoregressive_flow(made, base_dist=base)
    weights, static = eqx.partition(flow, eqx.is_inexact_array, is_leaf=_frozen)
    optimizer, loss = optax.adam(RATE), MaximumLikelihoodLoss()
    state = optimizer.init(weights)
    best = weights

    def epoch() -> Iterator[None]:
        nonlocal key, weights, state
        key, shuffled, *keys = jr.split(key, 2 + max(1, len(rows) // BATCH))
        (batches,) = get_batches((jr.permutation(shuffled, rows),), BATCH)
        for batch, each in zip(batches, keys, strict=False):
            weights, state, value = step(
                weights, static, batch, optimizer=optimizer, opt_state=state, loss_fn=loss, key=each
            )
            value.block_until_ready()
            yield

    @jax.jit
    def density(weights: Any, x: jax.Array) -> jax.Array:
        return paramax.unwrap(eqx.combine(weights, static)).log_prob(x)

    def densities(x: jax.Array) -> Array:
        size = min(4096, len(x))
        padded = jnp.concatenate([x, jnp.zeros((-len(x) % size, x.shape[1]), x.dtype)])
        found = [density(weights, part) for part in padded.reshape(-1, size, x.shape[1])]
        return np.concatenate([np.asarray(part, np.float64) for part in found])[: len(x)]

    def keep() -> None:
        nonlocal best
        best = weights

    untrained = weights, state, key
    next(epoch())
    densities(others)
    weights, state, key = untrained
    told = trained(epoch, lambda: float(densities(others).mean()), keep, seconds, PATIENCE)
    weights = best

    def log_prob(x: Array) -> Array:
        return densities(jnp.asarray(units.to_standard(x), jnp.float32)) + units.log_det

    return Fitted(log_prob, told)


def _frozen(leaf: Any) -> bool:
    return isinstance(leaf, paramax.NonTrainable)
