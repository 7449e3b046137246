"""Cases of laws and of conditioners: in couplings of every mask."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from diffeo.conditioners import MLP, Conditioner, ResidualMLP
from diffeo.laws import Additive, Law
from diffeo.laws import Affine as AffineLaw
from diffeo.testing.cases.case import CONTEXTS, IMAGES, VECTORS, Case, coupled, small_mlp


def law_cases(name: str, law: Law) -> list[Case]:
    """Return the cases of a law: in couplings of every mask, and with nothing passed.

    >>> [case.name for case in law_cases("mylab.Stretch", AffineLaw())][:2]
    ['mylab.Stretch, coupling, halves', 'mylab.Stretch, coupling, alternating']
    """
    vectors, images = ("halves", "alternating", "given", "none passed"), ("checkerboard", "channelwise")
    masks = [*product(vectors, [VECTORS]), *product(images, [IMAGES])]
    return [
        Case(
            name=f"{name}, coupling, {mask}",
            part="law",
            build=coupled(law, mask, small_mlp),
            sizes=sizes,
            contexts=CONTEXTS,
            identity=True,
        )
        for mask, sizes in masks
    ]


def conditioner_case(name: str, conditioner: Callable[..., Conditioner]) -> Case:
    """Return the case of a conditioner: it steers affine couplings."""
    build = coupled(AffineLaw(), "alternating", conditioner)
    return Case(name, "conditioner", build, contexts=CONTEXTS, identity=True)


LAWS = [*law_cases("laws.Additive", Additive()), *law_cases("laws.Affine", AffineLaw())]

CONDITIONERS = [
    conditioner_case("conditioners.MLP", MLP),
    conditioner_case("conditioners.ResidualMLP", ResidualMLP),
]
