"""One-dimensional densities, as monotone maps onto the standard normal: what Gaussianize is fitted with."""

from diffeo.bijections.marginals.bounds import Bounds
from diffeo.bijections.marginals.charts import piece_at
from diffeo.bijections.marginals.fit import Marginal, fit_marginal
from diffeo.bijections.marginals.tail import beyond, beyond_back

__all__ = ["Bounds", "Marginal", "beyond", "beyond_back", "fit_marginal", "piece_at"]
