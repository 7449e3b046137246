"""Cases of laws and of conditioners: in couplings of every mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from diffeo.bijections import Bijection, Chain, Coupling
from diffeo.conditioners import MLP, Conditioner, ResidualCNN, ResidualMLP, Transformer
from diffeo.laws import Additive, Law, RationalQuadratic
from diffeo.laws import Affine as AffineLaw
from diffeo.testing.cases.case import (
    CONTEXTS,
    IMAGES,
    VECTORS,
    Case,
    coupled,
    mask_of,
    small_mlp,
)

#: Masks of vectors and of images that laws are tested with; "none passed" moves every element.
MASKS = ("halves", "alternating", "given", "none passed", "checkerboard", "channelwise")


def law_cases(name: str, law: Law, masks: Sequence[str] = MASKS) -> list[Case]:
    """Return the cases of a law: in couplings of every mask.

    >>> [case.name for case in law_cases("mylab.Stretch", AffineLaw())][:2]
    ['mylab.Stretch, coupling, halves', 'mylab.Stretch, coupling, alternating']
    """
    return [
        Case(
            name=f"{name}, coupling, {mask}",
            part="law",
            build=coupled(law, mask, small_mlp),
            sizes=IMAGES if mask in ("checkerboard", "channelwise") else VECTORS,
            contexts=CONTEXTS,
            identity=True,
        )
        for mask in masks
    ]


def conditioner_case(name: str, conditioner: Callable[..., Conditioner]) -> Case:
    """Return the case of a conditioner: it steers affine couplings."""
    build = coupled(AffineLaw(), "alternating", conditioner)
    return Case(name, "conditioner", build, contexts=CONTEXTS, identity=True)


LAWS = [
    *law_cases("laws.Additive", Additive()),
    *law_cases("laws.Affine", AffineLaw()),
    *law_cases("laws.RationalQuadratic", RationalQuadratic(), ("alternating", "checkerboard")),
    *law_cases("laws.RationalQuadratic, linear", RationalQuadratic(5, 2.0, "linear"), ("halves",)),
]


def image_case(name: str, mask: str, **settings: Any) -> Case:
    """Return the case of a small convolutional network: it steers affine couplings of images."""
    law = AffineLaw()

    def build(shape: Any, context: int) -> Bijection:
        layers: list[Bijection] = []
        for flip in (False, True):
            network = ResidualCNN(shape, law.n_params, width=6, blocks=1, context=context, **settings)
            layers.append(Coupling(law, network, mask_of(mask, shape, flip)))
        return Chain(*layers)

    return Case(name, "conditioner", build, sizes=IMAGES, contexts=("none", "per row"), identity=True)


def _transformer(*sizes: int, context: int = 0) -> Conditioner:
    return Transformer(*sizes, width=8, heads=2, blocks=1, context=context)


CONDITIONERS = [
    conditioner_case("conditioners.MLP", MLP),
    conditioner_case("conditioners.ResidualMLP", ResidualMLP),
    # Many parameters, and a pass of attention costs more than one of a perceptron: few sizes.
    replace(conditioner_case("conditioners.Transformer", _transformer), sizes=(1, 2, 3, 7)),
    image_case("conditioners.ResidualCNN, checkerboard", "checkerboard"),
    image_case("conditioners.ResidualCNN, channelwise", "channelwise", weight_norm=False),
]
