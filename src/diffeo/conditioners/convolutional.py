"""The convolutional residual network, for couplings of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.conditioners.conditioner import Conditioner, Linear, activation_of, widest
from diffeo.errors import ConfigError, at_least, flag, number
from diffeo.registry import register

#: Added to ‖v‖²: a filter of zeros has a derivative too.
_LEAST = 1e-30


class Conv(nn.Conv2d):
    """A convolution that keeps height and width; with weight normalisation, w = g v / ‖v‖ by filter.

    Source: Salimans & Kingma, *Weight normalization* (2016), equation 2.
    """

    def __init__(self, incoming: int, outgoing: int, kernel: int, weight_norm: bool = False) -> None:
        super().__init__(incoming, outgoing, kernel, padding=kernel // 2)
        norm = self.weight.detach().square().sum((1, 2, 3)).sqrt()
        self.norm = nn.Parameter(norm) if weight_norm else None

    def forward(self, input: Tensor) -> Tensor:
        """Return the image of ``input``, (rows, incoming, H, W)."""
        weight = self.weight
        if self.norm is not None:
            size = (weight.square().sum((1, 2, 3)) + _LEAST).sqrt()
            weight = weight * (self.norm / size).reshape(-1, 1, 1, 1)
        return nn.functional.conv2d(input, weight, self.bias, padding=self.padding)


def image_of(shape: Sequence[int]) -> torch.Size:
    """Return ``shape`` if it is (channels, height, width), or raise."""
    if not isinstance(shape, list | tuple) or len(shape) != 3:
        raise ConfigError(f"shape={shape!r:.80} must be (channels, height, width), as (3, 32, 32).")
    for size in shape:
        at_least("shape", size, 1)
    return torch.Size(shape)


def check_filters(name: str, width: int, kernels: Sequence[int]) -> None:
    """Raise :class:`ConfigError` unless a layer may have ``width`` channels, and filters of these sizes."""
    at_least(name, width, 2)
    if width % 2:
        raise ConfigError(f"{name}={width} must be even, so that a row is summed alike in every batch.")
    for kernel in kernels:
        at_least("kernel", kernel, 1)
        if kernel % 2 == 0:
            raise ConfigError(f"kernel={kernel} must be odd, as 3: a filter has a middle.")


class ImageConditioner(Conditioner):
    """A network of images: h₀ = w_in ∗ x + V c, then what a subclass makes of it, C · n_params channels.

    It sees the image with the moved elements zeroed, and returns parameters for every element; a coupling
    reads those of the moved ones.
    """

    entry: Conv
    given: Linear | None

    def body(self, h: Tensor) -> Tensor:
        """Return (rows, C · n_params, H, W) of h₀, (rows, width, H, W)."""
        raise NotImplementedError  # abstract

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ of shape ``batch + (C, H, W, n_params)``."""
        batch, shape = x.shape[:-3], x.shape[-3:]
        h = self.entry(x.reshape(batch.numel(), *shape))
        if self.given is not None and context is not None:
            h = h + self.given(context.reshape(batch.numel(), self.context)).unsqueeze(-1).unsqueeze(-1)
        theta = self.body(h).unflatten(-3, (shape[0], self.n_params)).movedim(-3, -1)
        return theta.reshape(*batch, *shape, self.n_params)

    def _of_shape(self, shape: Sequence[int], n_params: int, context: int) -> None:
        self.event_shape = image_of(shape)
        count = self.event_shape.numel()
        self._sizes(count, count, n_params, context)


class _Block(nn.Module):
    """h + w₂ ∗ σ(w₁ ∗ σ(h)): the pre-activation block of He et al. (2016)."""

    def __init__(self, width: int, kernel: int, activation: str, weight_norm: bool, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            activation_of(activation),
            Conv(width, width, kernel, weight_norm),
            activation_of(activation),
            nn.Dropout(dropout),
            Conv(width, width, kernel, weight_norm),
        )

    def forward(self, h: Tensor) -> Tensor:
        return h + self.inner(h)


@register("conditioners.ResidualCNN")
class ResidualCNN(ImageConditioner):
    """θ = w_out ∗ σ(h_B), h_b = h_{b−1} + w₂ ∗ σ(w₁ ∗ σ(h_{b−1})), h₀ = w_in ∗ x + V c.

    It sees the image with the moved elements zeroed, and returns parameters for every element; a coupling
    reads those of the moved ones. w_out is a 1 × 1 convolution that starts at zero.

    Source: He, Zhang, Ren & Sun, *Identity mappings in deep residual networks* (2016), equation 3; in a
    coupling, with weight normalisation, Dinh, Sohl-Dickstein & Bengio, *Real NVP* (2017), section 3.7.
    Their batch normalisation inside the network is left out: a row would depend on its batch.

    Args:
        shape: (C, H, W), of x and of θ.
        n_params: parameters per element (the law's ``n_params``).
        width: channels of a hidden layer, an even number (see :mod:`diffeo.kernels.tiles`).
        blocks: residual blocks; each lets θ see 2 (``kernel`` − 1) / 2 pixels further.
        kernel: height and width of a filter, odd.
        activation: as for :class:`MLP`.
        context: features of the context, which move the channels of h₀ alike at every pixel.
        weight_norm: whether hidden filters have a direction and a length, learnt apart.
        dropout: probability of dropping a unit inside a block in training.

    Raises:
        ConfigError: an argument is out of range, or ``shape`` is no (C, H, W).

    >>> ResidualCNN((3, 8, 8), n_params=2, width=16)(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 3, 8, 8, 2])
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_params: int,
        *,
        width: int = 64,
        blocks: int = 2,
        kernel: int = 3,
        activation: str = "silu",
        context: int = 0,
        weight_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._of_shape(shape, n_params, context)
        at_least("blocks", blocks, 0)
        check_filters("width", width, [kernel])
        activation_of(activation)
        flag("weight_norm", weight_norm)
        number("dropout", dropout, least=0, below=1)
        channels = shape[0]
        self.entry = Conv(channels, width, kernel, weight_norm)
        self.given = Linear(context, width, bias=False) if context else None
        last = Conv(width, channels * n_params, 1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.layers = nn.Sequential(
            *(_Block(width, kernel, activation, weight_norm, dropout) for _ in range(blocks)),
            activation_of(activation),
            last,
        )

    def breadth(self) -> int:
        """Return the channels of the widest layer, at every pixel."""
        assert self.event_shape is not None
        return widest(self) * self.event_shape[1:].numel()

    def body(self, h: Tensor) -> Tensor:
        """Return what the blocks make of h₀."""
        return self.layers(h)
