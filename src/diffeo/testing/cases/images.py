"""Cases of images: what rearranges them, their networks, and the published flows, small."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from diffeo.bijections import Affine, Autoregressive, Bijection, Chain, Coupling, Flattened, Logit, Squeezed
from diffeo.conditioners import CNN, CausalTransformer, Guided
from diffeo.flows import Flow
from diffeo.images import Dequantisation, Pixels, flows
from diffeo.laws import Affine as AffineLaw
from diffeo.testing.cases.case import CONTEXTS, Case, Features, coupled, mask_of, small_mlp

_EVEN: tuple[Features, ...] = ((1, 2, 2), (1, 4, 2))

#: The settings that make each named flow small, and the shapes that it is then tried at.
SMALL_IMAGES: Mapping[str, tuple[dict[str, Any], tuple[Features, ...]]] = {
    "FlowPP": (
        {"couplings": (1, 1, 1), "components": 2, "width": 8, "heads": 2, "blocks": 1},
        ((1, 2, 4), (1, 4, 2)),
    ),
    "Glow": ({"levels": 2, "steps": 1, "width": 4}, ((1, 4, 4), (1, 4, 8))),
    "Jet": ({"patch": 2, "couplings": 3, "width": 8, "blocks": 1, "heads": 2}, ((1, 2, 4), (1, 4, 4))),
    "NICE": ({"hidden": (6,), "couplings": 3}, ((1, 1, 2), (1, 2, 2))),
    "RealNVP": ({"width": 2, "blocks": 1, "couplings": 1}, _EVEN),
    "TarFlow": ({"patch": 1, "width": 8, "transforms": 2, "blocks": 1, "heads": 2}, ((1, 1, 2), (2, 1, 2))),
}


def _squeezed(shape: Any, context: int) -> Bijection:
    channels, height, width = shape
    inner = (4 * channels, height // 2, width // 2)
    return Chain(Squeezed(shape, Affine(inner)), Affine(shape))


def _flattened(shape: Any, context: int) -> Bijection:
    channels, height, width = shape
    return Flattened(shape, coupled(AffineLaw(), "halves", small_mlp)(channels * height * width, context))


def _cnn(mask: str, **settings: Any) -> Callable[[Any, int], nn.Module]:
    law = AffineLaw()

    def build(shape: Any, context: int) -> Bijection:
        layers: list[Bijection] = []
        for flip in (False, True):
            network = CNN(shape, law.n_params, context=context, **settings)
            layers.append(Coupling(law, network, mask_of(mask, shape, flip)))
        return Chain(*layers)

    return build


def _guided(features: int, context: int) -> Bijection:
    """Return an autoregressive layer pushed away from its parameters without a context."""
    inner = CausalTransformer(features, 2, width=8, heads=2, blocks=1, context=context)
    return Autoregressive(AffineLaw(), Guided(inner, 0.5) if context else inner)


def small_image_flow(name: str, **settings: Any) -> Callable[[Any, int], Flow]:
    """Return the builder of the named flow of images with few parameters."""
    make: Callable[..., Flow] = getattr(flows, name)

    def build(shape: Any, context: int) -> Flow:
        return make(shape, context, **{**SMALL_IMAGES[name][0], **settings})

    return build


def _pixels(shape: Any, context: int) -> Bijection:
    return Chain(Affine(shape), Pixels(shape, 17, -0.5, 0.5))


def _cells(shape: Any, context: int) -> Bijection:
    # One cell is all of the box that a logit leaves; it is mapped onto itself.
    moved = Dequantisation(shape, 2, couplings=2, width=4, blocks=0)
    return Chain(
        coupled(AffineLaw(), "checkerboard", small_mlp)(shape, context), Logit(event_ndim=3), moved
    )


IMAGE_CASES = [
    Case(
        "conditioners.Guided",
        "conditioner",
        _guided,
        sizes=(2, 3),
        contexts=("none", "per row"),
        identity=True,
    ),
    Case("images.Pixels", "bijection", _pixels, sizes=((1, 1, 1), (1, 1, 2), (2, 2, 3))),
    Case(
        "images.Dequantisation",
        "bijection",
        _cells,
        sizes=((1, 1, 1), (1, 1, 2), (2, 2, 2)),
        contexts=("none", "per row"),
        domain="box",
    ),
    Case("bijections.Squeezed", "bijection", _squeezed, sizes=_EVEN, identity=True),
    Case("bijections.Flattened", "bijection", _flattened, sizes=_EVEN, contexts=CONTEXTS, identity=True),
    Case(
        "conditioners.CNN",
        "conditioner",
        _cnn("checkerboard", hidden=(4, 4), weight_norm=True),
        sizes=((1, 2, 3), (2, 3, 2)),
        contexts=("none", "per row"),
        identity=True,
    ),
    Case(
        "conditioners.CNN, one convolution",
        "conditioner",
        _cnn("channelwise", hidden=(), kernels=(3,)),
        sizes=((1, 2, 2), (2, 3, 2)),
        contexts=("none", "per row"),
        identity=True,
    ),
    *(
        Case(
            f"images.{name}",
            "flow",
            small_image_flow(name),
            sizes=sizes,
            contexts=("none", "per row"),
        )
        for name, (_, sizes) in SMALL_IMAGES.items()
    ),
]
