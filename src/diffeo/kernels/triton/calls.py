"""How the spline's kernels are called, and their place in autograd."""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from diffeo.kernels.native import Compiled
from diffeo.kernels.recorded import transformed
from diffeo.kernels.safe import safe_limit

#: Elements that a program takes.
BLOCK = 128

#: Said where derivatives of derivatives are asked for.
TWICE = (
    "Triton's kernels have derivatives of first order, and create_graph=True asks for more; expected "
    "create_graph=False: compute with the law itself, or set DIFFEO_TRITON=0."
)

#: Products and sums are rounded one by one, as torch rounds them: θ = 0 is the identity to the last bit.
COMPILED_WITH = {"num_warps": 4, "enable_fp_fusion": False}


@functools.lru_cache(maxsize=1)
def available() -> bool:
    """Return whether there is a GPU that Triton compiles for; ``DIFFEO_TRITON=0`` says that there is none.

    Triton comes with torch's builds for CUDA. It is looked for, and not imported.
    """
    wanted = os.environ.get("DIFFEO_TRITON", "1") != "0"
    return wanted and torch.cuda.is_available() and importlib.util.find_spec("triton") is not None


def knows(compiled: Compiled | None) -> bool:
    """Return whether there are kernels for a law, by how it is called in the compiled ones.

    >>> from diffeo.laws import Affine, RationalQuadratic
    >>> knows(RationalQuadratic().compiled()), knows(Affine().compiled())
    (True, False)
    """
    return compiled is not None and compiled.law == "rational quadratic"


def takes(u: Tensor, theta: Tensor) -> bool:
    """Return whether the kernels compute with these tensors.

    They do with float32 on a GPU, θ of the shape ``u.shape + (n,)``, and not where operations are recorded
    or transformed: by torch.compile, export, functorch or forward-mode derivatives.
    """
    fits = u.is_cuda and u.device == theta.device and theta.shape[:-1] == u.shape
    if not fits or not u.dtype == theta.dtype == torch.float32:
        return False
    return not (torch.compiler.is_compiling() or transformed(u) or transformed(theta))


def spline(compiled: Compiled, u: Tensor, theta: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
    """Return v = g(u; θ) and log ∂v/∂u of a rational-quadratic spline, or those of its inverse.

    Derivatives are of first order; :class:`diffeo.laws.RationalQuadratic` has those of any.

    Shapes: ``u`` any shape, ``theta`` ``u.shape + (n_params,)``, of float32 and on one device.

    Source: Durkan, Bekasov, Murray & Papamakarios, *Neural Spline Flows* (2019), equations 4–8.

    Args:
        compiled: the law's settings: its (bound, min_bin, −log min_slope) and (bins, whether tails match).
        u: the values.
        theta: the parameters.
        inverse: the direction of the law, which ``compiled.inverted`` turns round.
    """
    return Spline.apply(compiled, inverse != compiled.inverted, u, theta)  # pyright: ignore


class Spline(torch.autograd.Function):
    """The kernels as one operation, which keeps u and θ alone for the way back."""

    @staticmethod
    def forward(
        ctx: Any, compiled: Compiled, inverse: bool, u: Tensor, theta: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the value and the log-slope."""
        from diffeo.kernels.triton.source.passes import forward

        u, theta = u.contiguous(), theta.contiguous()
        value, log_slope = torch.empty_like(u), torch.empty_like(u)
        _launch(forward, compiled, inverse, u, theta, value, log_slope)
        ctx.save_for_backward(u, theta)
        ctx.settings = compiled, inverse
        return value, log_slope

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, to_value: Tensor, to_log_slope: Tensor
    ) -> Any:
        """Return the gradients towards u and θ.

        Raises:
            RuntimeError: a graph of the gradients is asked for (``create_graph=True``).
        """
        if torch.is_grad_enabled():
            raise RuntimeError(TWICE)
        from diffeo.kernels.triton.source.passes import backward

        u, theta = ctx.saved_tensors
        to_u, to_theta = torch.empty_like(u), torch.empty_like(theta)
        seeds = to_value.contiguous(), to_log_slope.contiguous()
        _launch(backward, *ctx.settings, u, theta, *seeds, to_u, to_theta)
        return None, None, to_u, to_theta


def settings(compiled: Compiled, inverse: bool, params: int) -> dict[str, Any]:
    """Return what the kernels are compiled for: a law, a direction, and the block."""
    bound, min_bin, steepest = compiled.numbers
    bins, matching = compiled.counts
    return {
        "PARAMS": params, "BINS": bins, "BOUND": bound, "MIN_BIN": min_bin, "STEEPEST": steepest,
        "MATCHING": bool(matching), "INVERSE": inverse, "SAFE": safe_limit(torch.float32), "BLOCK": BLOCK,
    }  # fmt: skip


def _launch(
    kernel: Any, compiled: Compiled, inverse: bool, u: Tensor, theta: Tensor, *others: Tensor
) -> None:
    count = u.numel()
    if not count:
        return
    with torch.cuda.device_of(u):
        kernel[(-(-count // BLOCK),)](
            u, theta, *others, count, **settings(compiled, inverse, theta.shape[-1]), **COMPILED_WITH
        )
