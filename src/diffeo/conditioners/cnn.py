"""The plain convolutional network of Glow's couplings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from diffeo.conditioners.conditioner import Linear, activation_of, hidden_sizes, widest
from diffeo.conditioners.convolutional import Conv, ImageConditioner, check_filters
from diffeo.errors import ConfigError, flag
from diffeo.registry import register


@register("conditioners.CNN")
class CNN(ImageConditioner):
    """θ = w_{K+1} ∗ σ(w_K ∗ … σ(w₁ ∗ x + V c)): a convolution for each kernel, the last starting at zero.

    It sees the image with the moved elements zeroed, and returns parameters for every element; a coupling
    reads those of the moved ones. With no hidden layer it is one convolution, as Glow's prior of what has
    been factored out given what goes on.

    Source: Kingma & Dhariwal, *Glow* (2018), section 4: 3 × 3, 1 × 1, 3 × 3, 512 channels. Their activation
    normalisation inside the network is left out.

    Args:
        shape: (C, H, W), of x and of θ.
        n_params: parameters per element (the law's ``n_params``).
        hidden: channels of the hidden layers, even numbers (see :mod:`diffeo.kernels.tiles`).
        kernels: heights and widths of the filters, odd; one more than hidden layers.
        activation: as for :class:`MLP`.
        context: features of the context, which move the channels of the first layer alike at every pixel.
        weight_norm: whether hidden filters have a direction and a length, learnt apart.

    Raises:
        ConfigError: an argument is out of range, or ``shape`` is no (C, H, W).

    >>> import torch
    >>> CNN((3, 8, 8), n_params=2, hidden=(16, 16))(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 3, 8, 8, 2])
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_params: int,
        *,
        hidden: Sequence[int] = (512, 512),
        kernels: Sequence[int] = (3, 1, 3),
        activation: str = "relu",
        context: int = 0,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        self._of_shape(shape, n_params, context)
        channels = shape[0]
        widths, sizes = hidden_sizes(hidden), hidden_sizes(kernels)
        if len(sizes) != len(widths) + 1:
            raise ConfigError(
                f"kernels={kernels!r:.80} must be {len(widths) + 1}, one more than the hidden layers of "
                f"hidden={hidden!r:.80}."
            )
        for width in widths:
            check_filters("hidden", width, sizes)
        activation_of(activation)
        flag("weight_norm", weight_norm)
        between = [channels, *widths, channels * n_params]
        convolutions = [
            Conv(*between[k : k + 2], kernel=size, weight_norm=weight_norm and k < len(widths))
            for k, size in enumerate(sizes)
        ]
        for parameter in convolutions[-1].parameters():
            nn.init.zeros_(parameter)
        self.entry = convolutions[0]
        self.given = Linear(context, between[1], bias=False) if context else None
        if self.given is not None and not widths:
            nn.init.zeros_(self.given.weight)
        later: list[nn.Module] = []
        for convolution in convolutions[1:]:
            later += [activation_of(activation), convolution]
        self.layers = nn.Sequential(*later)

    def outlet(self) -> nn.Parameter | None:
        """Return the bias of the last convolution."""
        last = self.layers[-1] if len(self.layers) else self.entry
        bias = last.bias
        return bias if isinstance(bias, nn.Parameter) else None

    def breadth(self) -> int:
        """Return the channels of the widest layer, at every pixel."""
        assert self.event_shape is not None
        return widest(self) * self.event_shape[1:].numel()

    def body(self, h: Tensor) -> Tensor:
        """Return what the layers after the first make of h₀."""
        return self.layers(h)
