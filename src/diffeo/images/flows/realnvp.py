"""Real NVP for images: checkerboard and channel-wise couplings at several scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffeo.bijections import BatchNorm, Bijection, Coupling, Mask
from diffeo.conditioners import ResidualCNN
from diffeo.distributions import Base
from diffeo.errors import at_least, flag
from diffeo.flows import Flow
from diffeo.images.flows.scales import image_flow, multi_scale, scaled_shape
from diffeo.laws import Affine

#: Published settings: ``RealNVP((3, 64, 64), **REAL_NVP_SETTINGS["imagenet64"])``.
REAL_NVP_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "cifar10": {"scales": 2, "width": 64, "blocks": 8},
    "imagenet32": {"scales": 4, "width": 32, "blocks": 4},
    "imagenet64": {"scales": 5, "width": 32, "blocks": 2},
    "celeba": {"scales": 5, "width": 32, "blocks": 2},
}


def RealNVP(
    shape: Sequence[int],
    context: int = 0,
    *,
    scales: int = 2,
    width: int = 64,
    blocks: int = 8,
    couplings: int = 3,
    bound: float = 2.0,
    batch_norm: bool = True,
    weight_norm: bool = True,
    dropout: float = 0.0,
    base: Base | None = None,
) -> Flow:
    """Real NVP of images, as published: y₁ = x₁, y₂ = x₂ ⊙ exp(s(x₁)) + t(x₁) at several scales.

    From data to noise, at each scale: three couplings with alternating checkerboard masks; a squeeze of
    (C, H, W) to (4C, H/2, W/2); three with alternating channel-wise masks; half of the channels are
    factored out. At the last scale: four with checkerboard masks. s and t are residual networks of
    ``blocks`` blocks with weight normalisation, whose channels double where the image is squeezed; batch
    normalisation follows each coupling on the way to noise. Both directions cost one pass. z has the shape
    of x, what was factored out included. Data are expected about the origin: pixels dequantised and
    through a logit.

    Where this differs from the paper: log-scales are ``bound`` · tanh(· / ``bound``), not a learnt multiple
    of tanh, and no batch normalisation stands inside of the networks, where a row would read its batch.

    Source: Dinh, Sohl-Dickstein & Bengio, *Density estimation using Real NVP* (2017), sections 3.4–3.7 and
    4.1; defaults are those of CIFAR-10. ``REAL_NVP_SETTINGS`` has those of the other data sets.

    Args:
        shape: (C, H, W); H and W are multiples of 2^(scales − 1).
        context: features of the context, 0 for none; a class goes in as one-hot.
        scales: scales, of which all but the last factor out.
        width: channels of the networks at the first scale.
        blocks: residual blocks of each network.
        couplings: couplings of a kind at each scale; the last scale has one more.
        bound: the largest log-scale of a coupling (see :class:`diffeo.laws.Affine`).
        batch_norm: whether each coupling is followed by batch normalisation.
        weight_norm: whether the networks' filters have a direction and a length, learnt apart.
        dropout: dropout in the networks.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> flow = RealNVP((1, 8, 8), width=8, blocks=1).eval()
    >>> flow.sample((5,)).shape
    torch.Size([5, 1, 8, 8])
    """
    sizes = scaled_shape(shape, scales, scales - 1)
    at_least("couplings", couplings, 1)
    flag("batch_norm", batch_norm)
    law = Affine(bound)

    def stack(shape: tuple[int, int, int], kind: str, count: int, channels: int) -> list[Bijection]:
        layers: list[Bijection] = []
        for k in range(count):
            network = ResidualCNN(
                shape,
                law.n_params,
                width=channels,
                blocks=blocks,
                activation="relu",
                context=context,
                weight_norm=weight_norm,
                dropout=dropout,
            )
            # Counted from the data, as in the paper; a chain counts from the noise.
            mask = Mask(kind, shape, flip=(count - 1 - k) % 2 == 1)
            layers += [BatchNorm(shape)] if batch_norm else []
            layers.append(Coupling(law, network, mask))
        return layers

    def fine(shape: tuple[int, int, int], scale: int) -> list[Bijection]:
        return stack(shape, "checkerboard", couplings, width * 2**scale)

    def coarse(shape: tuple[int, int, int], scale: int) -> list[Bijection]:
        return stack(shape, "channelwise", couplings, width * 2 ** (scale + 1))

    def last(shape: tuple[int, int, int], scale: int) -> list[Bijection]:
        return stack(shape, "checkerboard", couplings + 1, width * 2**scale)

    return image_flow(sizes, multi_scale(sizes, scales, fine, coarse, last), base)
