"""Normals with full covariances, as data set them: a Gaussian, a Gaussian mixture, a kernel density."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.distributions.base import Base
from diffeo.errors import ConfigError, ShapeError, at_least, flag
from diffeo.kernels.shapes import check_broadcast, check_context, safe_context
from diffeo.kernels.tiles import even_linear, in_tiles
from diffeo.registry import register

#: Magnitude up to which rows are computed as they are; beyond it as if there, without gradients.
_LIMIT = 1e16

#: The largest squared distance: beyond it a log-density is no number of float32, and not of interest.
_FARTHEST = 1e300


@register("distributions.FullMixture")
class FullMixture(Base):
    """π(z | c) = Σₖ wₖ N(z; μₖ + B c, Σₖ), all of it buffers, set by :meth:`place` and not trained.

    One component is the Gaussian; as many as there are rows, of one shared Σ, a kernel density, and of
    Σₖ = sₖ² Σ one whose kernels have widths of their own. The location moves linearly with the context.
    Σₖ = (AₖᵀAₖ)⁻¹ is held by its lower triangular Aₖ, so that
    log N = −½ ‖Aₖ (z − μₖ − B c)‖² + Σᵢ log Aₖᵢᵢ − ½ D log 2π. It starts at the standard normal. Sums are
    taken in float64, whatever the dtype.

    Args:
        features: the number of features D.
        components: the number of normals K.
        context: features of the context, 0 for none.
        shared: whether all have one Σ.
        scaled: whether each has its own multiple sₖ² of a shared Σ.

    Raises:
        ConfigError: ``scaled`` without ``shared``.
        ShapeError: what :meth:`place` is given does not fit.

    >>> base = FullMixture(1, components=2)
    >>> base.place([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]]).log_prob(torch.zeros(1)).item()
    -1.418...
    """

    def __init__(
        self,
        features: int,
        components: int = 1,
        context: int = 0,
        shared: bool = False,
        scaled: bool = False,
    ) -> None:
        at_least("features", features, 1)
        super().__init__(features)
        at_least("components", components, 1)
        at_least("context", context, 0)
        flag("shared", shared)
        flag("scaled", scaled)
        if scaled and not shared:
            raise ConfigError(
                "scaled=True with shared=False; expected one covariance to take multiples of: pass "
                "shared=True, or leave scaled out."
            )
        self.context_features, self.shared, self.scaled = context, shared, scaled
        factors = 1 if shared else components
        self.register_buffer("log_weight", torch.full((components,), -math.log(components)))
        self.register_buffer("loc", torch.zeros(components, features))
        self.register_buffer("factor", torch.eye(features).repeat(factors, 1, 1))
        self.register_buffer("slope", torch.zeros(features, context))
        if scaled:
            self.register_buffer("scale", torch.ones(components))

    def place(
        self, weights: object, loc: object, factor: object, slope: object = None, scale: object = None
    ) -> FullMixture:
        """Set w, μ, A, B and s: numbers of shapes (K,), (K, D), (K or 1, D, D), (D, context) and (K,).

        Weights are divided by their sum; A has a positive diagonal, and what is above it is not read. B and
        s stay as they are where they are not given; only a scaled base has an s.
        """
        given = {"weights": weights, "loc": loc, "factor": factor, "slope": slope, "scale": scale}
        if scale is not None and not self.scaled:
            raise ConfigError("scale was given to a base without one: build it with scaled=True.")
        for name, value in given.items():
            if value is None:
                continue
            kept = self.get_buffer("log_weight" if name == "weights" else name)
            new = torch.as_tensor(value, dtype=torch.float64)
            if new.shape != kept.shape:
                raise ShapeError(
                    f"{name} has shape {tuple(new.shape)}; expected {tuple(kept.shape)}: build the base "
                    "for as many components, features and context features."
                )
            if name == "weights":
                new = (new / new.sum()).log()
            kept.copy_(new.tril() if name == "factor" else new)
        return self

    def factors(self) -> Tensor:
        """Return the Aₖ in float64, (K, D, D), or (1, D, D) where all components have one."""
        factor = self.get_buffer("factor").double()
        return factor / self.get_buffer("scale").double()[:, None, None] if self.scaled else factor

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log Σₖ wₖ N(z; μₖ + B c, Σₖ)."""
        shift, mark = self._shift(context)
        if shift is not None:
            check_broadcast(z.shape[:-1], shift.shape[:-1])
        size = z.detach().abs().amax(-1, keepdim=True)
        ok = size <= _LIMIT  # False for NaN
        far = torch.nan_to_num(z.detach().double()).clamp(-1e120, 1e120)
        rows = torch.where(ok, z.double(), far)
        if shift is not None:
            rows = rows - torch.where(ok, shift, shift.detach())
        value = torch.logsumexp(in_tiles(self.terms, rows), -1).to(z.dtype)
        size = size.squeeze(-1).broadcast_to(value.shape)
        value = torch.where(size.isnan(), torch.nan, torch.where(size.isinf(), -torch.inf, value))
        return value if mark is None else value + mark

    def terms(self, rows: Tensor, context: None = None) -> Tensor:
        """Return log wₖ N(row; μₖ, Σₖ) of float64 rows from which B c was taken, shape (rows, K)."""
        loc, factor = self.get_buffer("loc").double(), self.get_buffer("factor").double()
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        if self.shared:
            noise, places = even_linear(rows, factor[0]), even_linear(loc, factor[0])
            apart = noise.square().sum(-1, keepdim=True) + places.square().sum(-1)
            square = (apart - 2 * even_linear(noise, places)).clamp(min=0.0)
            if self.scaled:
                scale = self.get_buffer("scale").double()
                square = square / scale.square()
                log_det = log_det - loc.shape[1] * scale.log()
        else:
            offset = (factor @ loc.unsqueeze(-1)).flatten()
            noise = even_linear(rows, factor.flatten(0, 1)) - offset
            square = noise.unflatten(-1, loc.shape).square().sum(-1)
        constant = 0.5 * loc.shape[1] * math.log(2 * math.pi)
        weights = self.get_buffer("log_weight").double()
        return weights + log_det - 0.5 * square.clamp(max=_FARTHEST) - constant

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return μₖ + B c + Aₖ⁻¹ ε with k drawn by the weights."""
        u = torch.rand(tuple(shape), generator=generator, dtype=self.dtype, device=self.device)
        noise = torch.randn(
            (*shape, *self.event_shape), generator=generator, dtype=self.dtype, device=self.device
        )
        shift, mark = self._shift(context)
        ends = self.get_buffer("log_weight").double().exp().cumsum(-1)
        chosen = torch.searchsorted(ends, u.double() * ends[-1], right=True).clamp(max=len(ends) - 1)
        factor = self.get_buffer("factor").double()
        eye = torch.eye(factor.shape[-1], dtype=torch.float64, device=self.device)
        spread = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        rows = noise.double()
        moved = rows @ spread[0].mT
        for k in range(1, len(spread)):
            moved = torch.where((chosen == k).unsqueeze(-1), rows @ spread[k].mT, moved)
        if self.scaled:
            moved = moved * self.get_buffer("scale").double()[chosen].unsqueeze(-1)
        moved = moved + self.get_buffer("loc").double()[chosen]
        if shift is not None:
            moved = moved + shift
        value = moved.to(self.dtype)
        return value if mark is None else value + mark.unsqueeze(-1)

    def _shift(self, context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return B c in float64, and NaN for each row of context that is not finite."""
        if not self.context_features:
            return None, None
        check_context(context, self.context_features)
        safe, mark = safe_context(context)
        assert safe is not None
        assert mark is not None
        return in_tiles(self._moved, safe.double()), mark

    def _moved(self, context: Tensor, nothing: None = None) -> Tensor:
        return even_linear(context, self.get_buffer("slope").double())
