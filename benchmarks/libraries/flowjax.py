"""flowjax: its coupling_flow and masked_autoregressive_flow, whose layers are scanned over."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow, masked_autoregressive_flow

from benchmarks.cases import Case
from benchmarks.libraries.jax_library import JaxLibrary


class Adapter(JaxLibrary):
    """flowjax."""

    batch, rate = 100, 5e-4  # the defaults of its fit_to_data

    def make(self, case: Case, key: jax.Array) -> Any:
        """Return the trained arrays; the rest is kept aside."""
        kind = coupling_flow if case.structure == "coupling" else masked_autoregressive_flow
        options: dict[str, Any] = {}
        if case.law == "spline":
            # It counts inner knots, of which there is one less than bins.
            options["transformer"] = RationalQuadraticSpline(knots=case.bins - 1, interval=3)
            self.differs = "two slopes more a spline, which its edges do not use"
        flow = kind(
            key,
            base_dist=Normal(jnp.zeros(case.features)),
            flow_layers=case.layers,
            nn_width=case.hidden,
            nn_depth=2,
            **options,
        )
        weights, self.rest = eqx.partition(
            flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable)
        )
        return weights

    def _flow(self, weights: Any) -> Any:
        return paramax.unwrap(eqx.combine(weights, self.rest))

    def density(self, weights: Any, x: jax.Array) -> jax.Array:
        """Return log p of each row."""
        return self._flow(weights).log_prob(x)

    def draw(self, weights: Any, key: jax.Array, rows: int) -> jax.Array:
        """Return rows of the flow."""
        return self._flow(weights).sample(key, (rows,))
