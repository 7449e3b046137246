"""Cases of laws and of conditioners: in couplings of every mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffeo.conditioners import MLP, Conditioner, ResidualMLP
from diffeo.laws import Additive, Law, RationalQuadratic
from diffeo.laws import Affine as AffineLaw
from diffeo.testing.cases.case import CONTEXTS, IMAGES, VECTORS, Case, coupled, small_mlp

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

CONDITIONERS = [
    conditioner_case("conditioners.MLP", MLP),
    conditioner_case("conditioners.ResidualMLP", ResidualMLP),
]
