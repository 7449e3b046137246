"""A law as a bijection: its parameters θ are the context, so every check of bijections checks laws."""

from __future__ import annotations

from torch import Tensor

from diffeo.bijections import Bijection
from diffeo.laws import Law


class Steered(Bijection):
    """v = g(u; θ) on ``features`` elements, with θ the context, flattened.

    Shapes: values (…, features), context (…, features · n_params).

    >>> import torch
    >>> from diffeo.laws import Affine
    >>> v, log_det = Steered(Affine(), 2)(torch.ones(2), torch.tensor([0.0, 1.0, 0.0, 2.0]))
    >>> v, log_det
    (tensor([2., 3.]), tensor(0.))
    """

    def __init__(self, law: Law, features: int) -> None:
        super().__init__()
        self.law = law
        self.event_shape = (features,)
        self.context_features = features * law.n_params

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return g(z; θ) and the summed log-slopes."""
        value, log_slope = self.law.forward(z, self._theta(z, context))
        return value, log_slope.sum(-1)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return g⁻¹(x; θ) and the summed log-slopes."""
        value, log_slope = self.law.inverse(x, self._theta(x, context))
        return value, log_slope.sum(-1)

    def _theta(self, value: Tensor, context: Tensor | None) -> Tensor:
        shape = (*value.shape, self.law.n_params)
        if context is None:
            return value.new_zeros(shape)
        return context.unflatten(-1, shape[-2:]).expand(shape)
