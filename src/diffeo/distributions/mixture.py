"""A learnable mixture of normals: for data in clusters, which no smooth map of one normal can part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffeo.distributions.base import Base
from diffeo.distributions.normal import log_normal
from diffeo.errors import DataError, at_least
from diffeo.kernels.affine import scale_shift, unscale_unshift
from diffeo.kernels.safe import bounded
from diffeo.registry import register


@register("distributions.Mixture")
class Mixture(Base):
    """π(z) = Σₖ wₖ ∏ᵢ N(zᵢ; μₖᵢ, σₖᵢ²), with learnable weights, locations and scales.

    It starts near the standard normal, its components a little apart so that they can part. ``fit`` (and
    :meth:`initialise`) places them first: by k-means, on the data seen through the bijection. |log σ| is
    smoothly bounded by 10.

    Source: Izmailov, Kirichenko, Finzi & Wilson, *Semi-supervised learning with normalizing flows* (2020),
    section 3; the start: Lloyd, *Least squares quantization in PCM* (1982).

    Args:
        features: the number of features D.
        components: how many normals.
        seed: of the k-means start.

    >>> base = Mixture(2, components=3)
    >>> base.log_prob(base.sample((5,))).shape
    torch.Size([5])
    """

    reads_data = True
    reparametrised = False  # the weights decide by a search
    _BOUND = 10.0

    def __init__(self, features: int, components: int = 8, seed: int = 0) -> None:
        at_least("features", features, 1)
        super().__init__(features)
        at_least("components", components, 1)
        at_least("seed", seed, 0)
        self.seed = seed
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.empty(components, features))
        nn.init.normal_(self.loc, std=0.1)
        self.raw_log_scale = nn.Parameter(torch.zeros(components, features))
        self.register_buffer("initialised", torch.tensor(False))

    @property
    def log_scale(self) -> Tensor:
        """Return log σ, shape (components, D)."""
        return bounded(self.raw_log_scale, self._BOUND)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log Σₖ wₖ N(z; μₖ, σₖ²)."""
        log_scale = self.log_scale
        standard = unscale_unshift(z.unsqueeze(-2), log_scale, self.loc)
        terms = (log_normal(standard) - log_scale).sum(-1) + self.logits.log_softmax(-1)
        # Where every component has rounded to −inf, their sum has no derivative.
        best = terms.detach().amax(-1)
        ok = best.isfinite()
        inside = torch.logsumexp(torch.where(ok.unsqueeze(-1), terms, 0.0), -1)
        return torch.where(ok, inside, best)

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return μₖ + σₖ ε with k drawn by the weights.

        Given k a draw is differentiable in μₖ and σₖ; the weights get no gradient from samples.
        """
        u = torch.rand(tuple(shape), generator=generator, dtype=self.dtype, device=self.device)
        noise = torch.randn(
            (*shape, *self.event_shape), generator=generator, dtype=self.dtype, device=self.device
        )
        ends = self.logits.detach().softmax(-1).cumsum(-1)
        chosen = torch.searchsorted(ends, u, right=True).clamp(max=len(ends) - 1)
        return scale_shift(noise, self.log_scale[chosen], self.loc[chosen])

    @torch.no_grad()
    def initialise(self, z: Tensor, context: Tensor | None = None) -> Self:
        """Place the components by k-means on the finite rows of ``z``, unless that was done before.

        Each variance is that of the cluster with one pseudo-observation of the whole data's variance, so
        that a cluster of one row has a width. Components beyond the number of distinct rows stand for
        all rows, with the weight of one.
        """
        if bool(self.get_buffer("initialised")):
            return self
        from sklearn.cluster import KMeans

        components, features = self.loc.shape
        rows = z.detach().double().reshape(-1, features)
        rows = rows[rows.isfinite().all(-1)]
        if not len(rows):
            raise DataError(
                f"z of shape {tuple(z.shape)} has no row of finite numbers; Mixture needs at least one to "
                "be initialised from: pass complete rows."
            )
        mean, spread = rows.mean(0), rows.var(0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)
        clusters = min(components, len(rows.unique(dim=0)))
        search: Any = KMeans(clusters, n_init=4, random_state=self.seed)  # pyright: ignore[reportArgumentType]
        labels = search.fit_predict(rows.cpu().numpy())
        found = torch.as_tensor(labels).long().to(rows.device)
        member = nn.functional.one_hot(found, components).double()
        count = member.sum(0).unsqueeze(-1)
        centre = torch.where(count > 0, member.T @ rows / count.clamp(min=1), mean)
        variance = (member.T @ (rows - centre[found]).square() + spread) / (count + 1)
        self.loc.copy_(centre)
        limit = 0.99 * self._BOUND
        inside = (0.5 * variance.log()).clamp(-limit, limit) / self._BOUND
        self.raw_log_scale.copy_(self._BOUND * inside.atanh())
        self.logits.copy_(count.squeeze(-1).clamp(min=1).log())
        self.get_buffer("initialised").fill_(True)
        return self
