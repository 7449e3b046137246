"""Layers on a GPU whose law is one kernel forth and one back, in the place of torch's dozens."""

from __future__ import annotations

import copy
import functools
import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.bijection import Bijection
from diffeo.bijections.coupling import Coupling
from diffeo.kernels import triton
from diffeo.kernels.native import Compiled
from diffeo.laws import Law

#: Rows that a law is tried on; how many times as far off as torch it may be, and how far anyway.
TRIED, SLACK, ROUNDING = 256, 4.0, 1e-5


@dataclass(frozen=True)
class Launched(Law):
    """A law by Triton's kernels where they take what is given, and by its own formulas elsewhere.

    Its derivatives are of first order: it stands in a layer for a pass that asks for no others.

    Args:
        law: one for which :func:`launches` is true.
    """

    law: Law

    @property
    def n_params(self) -> int:
        """Return those of the law."""
        return self.law.n_params

    @property
    def breadth(self) -> int:
        """Return that of the law."""
        return self.law.breadth

    @property
    def start(self) -> tuple[float, ...] | None:
        """Return that of the law."""
        return self.law.start

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log ∂v/∂u."""
        return self._pass(u, theta, inverse=False)

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂v."""
        return self._pass(v, theta, inverse=True)

    def slope_bounds(self) -> tuple[float, float]:
        """Return those of the law."""
        return self.law.slope_bounds()

    def _pass(self, value: Tensor, theta: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        compiled = self.law.compiled()
        if compiled is not None and triton.takes(value, theta):
            return triton.spline(compiled, value, theta, inverse=inverse)
        return (self.law.inverse if inverse else self.law.forward)(value, theta)


def launched(layer: Bijection) -> Bijection | None:
    """Return ``layer`` with its law launched, or None where it has no such law, or is on no GPU.

    It is a copy of the object, not of its tensors: what trains one trains the other.
    """
    if type(layer) not in (Coupling, Autoregressive) or not triton.available():
        return None
    assert isinstance(layer, Coupling | Autoregressive)
    if not triton.knows(layer.law.compiled()):
        return None
    first = next(layer.conditioner.parameters(), None)
    if first is None or not first.is_cuda or first.dtype != torch.float32:
        return None
    return on_launched(layer) if trusted(layer.law, first.device) else None


def on_launched(layer: Coupling | Autoregressive) -> Bijection:
    """Return a copy of a layer, with the same modules, whose law is :class:`Launched`."""
    other = copy.copy(layer)
    other.__dict__["_modules"] = dict(layer.named_children())
    other.__dict__["law"] = Launched(layer.law)
    return other


@functools.lru_cache(maxsize=64)
def trusted(law: Law, device: torch.device) -> bool:
    """Return whether a law's kernels are as right as torch on a device, asked once of each.

    They are compiled for that, which takes seconds where Triton has them not on disk. Values, log-slopes
    and gradients are held to float64, and so are torch's in float32; the log says what failed.
    """
    try:
        reason = "" if _as_right(law, device) else "they are not as right as torch's formulas"
    except Exception as error:  # what a compiler may raise has no end, and the law is right without it
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if reason:
        logging.getLogger("diffeo.kernels").info("Triton's kernels are not used on %s: %s", device, reason)
    return not reason


def _as_right(law: Law, device: torch.device) -> bool:
    compiled = law.compiled()
    assert compiled is not None
    draws = torch.Generator().manual_seed(0)
    theta = 0.5 * torch.randn(TRIED, law.n_params, generator=draws)  # no narrow bins: they lose digits
    theta[: TRIED // 8] = 0.0  # the identity
    u = compiled.numbers[0] * torch.linspace(-1.5, 1.5, TRIED)[torch.randperm(TRIED, generator=draws)]
    u, theta = u.to(device), theta.to(device)
    with torch.inference_mode(False), torch.enable_grad():
        for inverse in (False, True):
            exact = _derivatives(law, u.double(), theta.double(), inverse=inverse)
            plain = _derivatives(law, u, theta, inverse=inverse)
            found = _derivatives(compiled, u, theta, inverse=inverse)
            for own, other, right in zip(found, plain, exact, strict=True):
                off, than, size = (own - right).norm(), (other - right).norm(), right.norm()
                if not bool(off <= SLACK * than + ROUNDING * size):
                    return False
    return True


def _derivatives(by: Law | Compiled, u: Tensor, theta: Tensor, *, inverse: bool) -> list[Tensor]:
    """Return value, log-slope, and the gradients of one fixed sum of them, in float64."""
    u, theta = u.clone().requires_grad_(), theta.clone().requires_grad_()
    if isinstance(by, Law):
        value, log_slope = (by.inverse if inverse else by.forward)(u, theta)
    else:
        value, log_slope = triton.spline(by, u, theta, inverse=inverse)
    weights = torch.linspace(-1, 1, len(u), dtype=u.dtype, device=u.device)
    total = (value * weights).sum() + (log_slope * weights.flip(0)).sum()
    gradients = torch.autograd.grad(total, (u, theta))
    return [each.detach().double() for each in (value, log_slope, *gradients)]
