"""The contractive residual layer: x, and something that changes less than x does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.bijections.solved import Passed, Solved
from diffeo.conditioners.contractive import ContractiveNetwork, Weights
from diffeo.errors import at_least, number, one_of
from diffeo.kernels.solve import SolveInfo, contracted
from diffeo.registry import register


@register("bijections.Contractive")
class Contractive(Solved):
    """z = x + g(x, c), for any network g that is a contraction in x.

    Two points cannot meet, since g brings them closer by less than their distance: the map is onto and
    has an inverse. Its weights are scaled for it, whatever they are, and g starts at 0: untrained, the
    map is the identity. With J = ∂g/∂x,

        log │det ∂z/∂x│ = log det(I + J) = Σ_{k ≥ 1} (−1)^{k+1} tr(J^k) / k.

    ``inverse`` (x → z, the direction of the density) is the formula. ``forward`` iterates x ← z − g(x),
    which gains a factor of at least ``lipschitz`` a step, half the way to a rounding; Newton's steps with
    J do the rest, and carry the derivatives of the implicit function. It takes D products with J.

    Source: Behrmann, Grathwohl, Chen, Duvenaud & Jacobsen, *Invertible residual networks* (2019), theorem
    1 and algorithm 1; Chen, Behrmann, Duvenaud & Jacobsen, *Residual flows* (2019), theorem 1 (the
    unbiased estimate) and section 3.3 (LipSwish).

    Args:
        features: D.
        hidden: hidden widths of g.
        context: features of the context.
        lipschitz: the largest Lipschitz constant of g. The inverse's is 1 / (1 − lipschitz).
        activation: of g: "lipswish" (h σ(h) / 1.1) or "tanh".
        log_det: "exact" forms J by D products and takes its determinant. "unbiased" estimates the series
            with one random vector of signs: its first ``terms`` terms always, one more with probability
            ½ each time, weighted for it (Russian roulette). In training vector and number are drawn anew
            from torch's generator, as dropout is: an unbiased estimate, also of the gradient. In
            evaluation they are drawn once from ``seed``, so that log_prob is a function, not an exact
            one: a layer with log_det="exact" takes the same weights.
        terms: terms of the series that are always taken.
        seed: of the estimate in evaluation.
        max_iter: steps of the iteration; a row that needs more is NaN, and ``forward_with_info`` says so.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> layer = Contractive(3, hidden=(16,))
    >>> x, log_det = layer(torch.ones(4, 3))
    >>> x.shape, log_det.shape
    (torch.Size([4, 3]), torch.Size([4]))
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (64, 64),
        context: int = 0,
        *,
        lipschitz: float = 0.97,
        activation: str = "lipswish",
        log_det: str = "exact",
        terms: int = 8,
        seed: int = 0,
        max_iter: int = 2000,
    ) -> None:
        super().__init__(features, context)
        one_of("log_det", log_det, ("exact", "unbiased"))
        for name, given, least in (("terms", terms, 1), ("seed", seed, 0), ("max_iter", max_iter, 1)):
            at_least(name, given, least)
        number("seed", seed, below=2**63)
        self.network = ContractiveNetwork(features, hidden, context, lipschitz, activation)
        self.log_det, self.terms, self.max_iter = log_det, terms, max_iter
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, (1, features), generator=generator, device="cpu") * 2.0 - 1.0
        self.register_buffer("_signs", signs, persistent=False)
        self._more = _heads(generator)

    def to_noise(self, x: Tensor, context: Tensor | None) -> Passed:
        """Return z and log │det ∂z/∂x│ of rows."""
        weights = self.network.weights(context)
        return x + self.network(x, weights), self._log_det(x, weights), None

    def to_data(self, z: Tensor, context: Tensor | None) -> Passed:
        """Return x with x + g(x) = z."""
        weights = self.network.weights(context)
        half = torch.finfo(z.dtype).eps ** 0.5
        found = contracted(lambda x: z - self.network(x, weights), z.detach(), half, self.max_iter)
        x = found.value
        for _ in range(3):
            excess = x + self.network(x, weights) - z
            x = x - torch.linalg.solve(self._jacobian(x, weights), excess.unsqueeze(-1)).squeeze(-1)
        residual = (x + self.network(x, weights) - z).detach().abs().amax(-1)
        arrived = residual <= half * z.detach().abs().amax(-1).clamp(min=1.0)
        info = SolveInfo(found.converged & arrived, residual, found.iterations)
        return x, -self._log_det(x, weights), info

    def _jacobian(self, x: Tensor, weights: Weights) -> Tensor:
        """Return I + J, (rows, D, D)."""
        eye = torch.eye(self.features, dtype=x.dtype, device=x.device)
        directions = eye.expand(x.shape[0], self.features, self.features)
        columns = self.network.turn(directions, self.network.slopes(x, weights), weights)
        return eye + columns.transpose(-1, -2)

    def _log_det(self, x: Tensor, weights: Weights) -> Tensor:
        if self.log_det == "exact":
            return torch.linalg.slogdet(self._jacobian(x, weights)).logabsdet
        signs, more = self.get_buffer("_signs").to(x.dtype).expand_as(x), self._more
        if self.training:
            signs = torch.randint(2, x.shape, device=x.device).to(x.dtype) * 2.0 - 1.0
            more = _heads(None)
        slopes = self.network.slopes(x, weights)
        direction, total, weight = signs.unsqueeze(1), x.new_zeros(x.shape[0]), 1.0
        for k in range(1, self.terms + more + 1):
            direction = self.network.turn(direction, slopes, weights)
            # A term beyond the first ones is there with probability ½, ¼, …: multiplied by 2, 4, …
            weight = weight * 2.0 if k > self.terms else weight
            sign = 1.0 if k % 2 else -1.0
            total = total + (sign * weight / k) * (direction.squeeze(1) * signs).sum(-1)
        return total


def _heads(generator: torch.Generator | None) -> int:
    """Return how many coins in a row show heads."""
    coins = torch.rand(64, generator=generator, device="cpu") < 0.5
    return int(coins.to(torch.int64).cumprod(0).sum())
