"""Bijections broken in one way each, and one that is right, on two features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffeo.bijections import Bijection

Pair = tuple[Tensor, Tensor]


class Right(Bijection):
    """x = z ⊙ exp(s), done right."""

    event_shape = torch.Size([2])

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([0.3, -0.2]))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        safe = torch.where(z.abs() < 1e15, z, 0.0)
        value = torch.where(z.abs() < 1e15, safe * self.log_scale.exp(), z)
        return value, self.log_scale.sum().expand(z.shape[:-1])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Pair:
        safe = torch.where(x.abs() < 1e15, x, 0.0)
        value = torch.where(x.abs() < 1e15, safe * (-self.log_scale).exp(), x)
        return value, -self.log_scale.sum().expand(x.shape[:-1])


class Square(Right):
    """x = z²: not invertible."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return z**2, torch.log(2 * z.abs()).sum(-1)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Pair:
        root = x.abs().sqrt()
        return root, -torch.log(2 * root).sum(-1)


class RoundingStep(Right):
    """x is rounded to halves, with the log-determinant of the identity."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return torch.round(2 * z) / 2, z.new_zeros(z.shape[:-1])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Pair:
        return x, x.new_zeros(x.shape[:-1])


class StraightThrough(RoundingStep):
    """The same, with a straight-through gradient: autograd sees the identity."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return z + (torch.round(2 * z) / 2 - z).detach(), z.new_zeros(z.shape[:-1])


class WrongSign(Right):
    """The inverse states the log-determinant of the forward direction."""

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Pair:
        value, log_det = super().inverse(x)
        return value, -log_det


class ForgottenBatch(Right):
    """One log-determinant for the whole batch."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return super().forward(z)[0], self.log_scale.sum()

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Pair:
        return super().inverse(x)[0], -self.log_scale.sum()


class SummedBatch(Right):
    """The log-determinants of all rows are summed."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        value, log_det = super().forward(z)
        return value, log_det.sum()


class PerFeature(Right):
    """The log-determinant is not summed over the features."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return super().forward(z)[0], self.log_scale.expand(z.shape)


class DiscardedBranch(Right):
    """The branch that torch.where discards has a NaN gradient where z is negative."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        value = torch.where(z > 0, torch.sqrt(z * z * z) ** (2 / 3), z)
        return value, z.new_zeros(z.shape[:-1])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Pair:
        return x, x.new_zeros(x.shape[:-1])


class NoLogDet(Right):
    """Returns the value alone."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(z)[0]


class OffByConstant(Right):
    """Log-determinants 0.1 too large, both ways."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        value, log_det = super().forward(z)
        return value, log_det + 0.1

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Pair:
        value, log_det = super().inverse(x)
        return value, log_det - 0.1


class DenseDeterminant(Right):
    """The log-determinant is read off a dense matrix for every row."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        matrix = torch.diag_embed(self.log_scale.exp().expand(z.shape))
        return super().forward(z)[0], torch.linalg.slogdet(matrix).logabsdet

    def inverse(self, x: Tensor, context: Tensor | None = None) -> Pair:
        matrix = torch.diag_embed((-self.log_scale).exp().expand(x.shape))
        return super().inverse(x)[0], torch.linalg.slogdet(matrix).logabsdet


class Mutating(Right):
    """Changes its input in place."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        if not z.requires_grad:
            z *= self.log_scale.exp()
            return z, self.log_scale.sum().expand(z.shape[:-1])
        return super().forward(z)


class RowMixing(Right):
    """Subtracts the mean over the batch."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        value, log_det = super().forward(z)
        return value - value.reshape(-1, 2).mean(0), log_det


class SinglePrecision(Right):
    """Accumulates its log-determinant in float32."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        value, log_det = super().forward(z)
        return value, (3 * log_det).float() / 3


class HiddenSinglePrecision(Right):
    """Accumulates in float32 and hides it."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        value, log_det = super().forward(z)
        return value, ((3 * log_det).float() / 3).to(z.dtype)


class Raising(Right):
    """Raises."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        raise IndexError("the flux capacitor is empty")


class PoisonedByInfinity(Right):
    """An infinite value in one row poisons the gradients of the others."""

    def forward(self, z: Tensor, context: Tensor | None = None) -> Pair:
        return z * self.log_scale.exp(), self.log_scale.sum().expand(z.shape[:-1])
