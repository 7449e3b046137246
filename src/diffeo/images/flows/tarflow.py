"""TarFlow: causal transformers over patches, in alternating orders."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import Autoregressive, Bijection, Chain, Flattened, Squeezed
from diffeo.conditioners import PatchTransformer
from diffeo.distributions import Base
from diffeo.errors import at_least
from diffeo.flows import Flow
from diffeo.images.flows.scales import image_flow, image_shape, squeezed
from diffeo.laws import Affine


def TarFlow(
    shape: Sequence[int],
    context: int = 0,
    *,
    patch: int = 2,
    width: int = 768,
    transforms: int = 8,
    blocks: int = 8,
    heads: int = 12,
    bound: float = 2.0,
    dropout: float = 0.0,
    inverse_method: str = "auto",
    base: Base | None = None,
) -> Flow:
    """Transformer autoregressive flow, as published: [P-width-T-K] in the paper's notation.

    The image is cut into patches x_t of P × P pixels. From data to noise, in each of T transforms z_t =
    (x_t − μ(x_{<t})) ⊙ exp(−s(x_{<t})), with μ and s by a causal transformer of K blocks over the patches,
    whose order is reversed from each transform to the next. Scoring costs one pass; a sample goes patch by
    patch, keys and values of the patches before kept, or by sweeps over all patches
    (``inverse_method="jacobi"``), the same to rounding.

    Where this differs from the paper: log-scales are ``bound`` · tanh(· / ``bound``), and the first patch
    has a learnt (and, with a context, steered) mean and scale, where theirs passes unchanged.

    The authors train with Gaussian noise on the pixels, :class:`diffeo.images.NoisyLikelihood`, take it
    from samples with :func:`diffeo.images.denoised`, and steer samples towards a class with
    :func:`diffeo.images.guided`.

    Source: Zhai et al., *Normalizing flows are capable generative models* (2024); defaults are
    those of ImageNet 64 × 64, [2-768-8-8].

    Args:
        shape: (C, H, W); H and W are multiples of ``patch``.
        context: features of the context, 0 for none; a class goes in as one-hot.
        patch: P.
        width: units of a token, a multiple of 4 · ``heads``.
        transforms: T.
        blocks: K, the blocks of each transformer.
        heads: their heads of attention.
        bound: the largest log-scale of a transform (see :class:`diffeo.laws.Affine`).
        dropout: dropout in the transformers.
        inverse_method: how samples are found (see :class:`diffeo.bijections.Autoregressive`).
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> flow = TarFlow((1, 4, 4), patch=2, width=16, transforms=2, blocks=1, heads=2)
    >>> flow.sample((5,)).shape
    torch.Size([5, 1, 4, 4])
    """
    at_least("patch", patch, 1)
    at_least("transforms", transforms, 1)
    sizes = image_shape(shape, patch, f"since a patch has patch={patch} of each")
    inner, law = squeezed(sizes, patch), Affine(bound)
    layers: list[Bijection] = []
    for k in range(transforms):
        network = PatchTransformer(
            inner,
            law.n_params,
            width=width,
            blocks=blocks,
            heads=heads,
            context=context,
            order="descending" if k % 2 else "ascending",
            dropout=dropout,
        )
        layers.append(Autoregressive(law, network, inverse_method))
    vectors = Flattened(inner, Chain(*layers[::-1]))  # counted from the data; a chain, from the noise
    return image_flow(sizes, Squeezed(sizes, vectors, patch), base)
