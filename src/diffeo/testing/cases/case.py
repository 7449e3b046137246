"""What a case is: a part to be tested, at several sizes, with and without context."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from diffeo.bijections import Affine, Bijection, Chain, Coupling, Mask
from diffeo.conditioners import MLP, Conditioner
from diffeo.distributions import Base, StandardNormal, VonMises
from diffeo.flows import Flow
from diffeo.laws import Affine as AffineLaw
from diffeo.laws import Law

#: What a part is built for: a number of features, or the (channels, height, width) of an image.
Features: TypeAlias = int | tuple[int, int, int]
Builder: TypeAlias = Callable[[Any, int], nn.Module]

#: The set that data of a case lie in; "raw" is ℝ with columns of very different units, "circle" [−π, π].
Domain = Literal["real", "raw", "positive", "box", "circle"]

VECTORS: tuple[Features, ...] = (1, 2, 3, 7, 43)
IMAGES: tuple[Features, ...] = ((1, 1, 1), (1, 2, 3), (2, 3, 2), (3, 4, 4))
CONTEXTS = ("none", "shared", "per row")

#: Features of a case's context, where it has one.
CONTEXT_FEATURES = 2


@dataclass(frozen=True)
class Case:
    """A part to be tested, at several sizes.

    Attributes:
        name: as "laws.Affine, coupling, halves".
        part: "law", "conditioner", "bijection", "base" or "flow".
        build: makes the part (a Bijection, a Base or a Flow) for (features, context features).
        sizes: the features that it is built for.
        contexts: of "none", "shared" (one row for all) and "per row".
        domain: where its data lie.
        thrift: what the evaluations of its quadrature and the draws of its sampler are divided by, since
            each is a search or an equation solved.
        dear: whether a pass is a search or an equation solved, so that a short run takes fewer rows.
        identity: whether parameters of zero make it the identity map, exactly.
        expected_failures: the checks that it is known to fail, each with the reason; strict.

    >>> from diffeo.testing import CASES
    >>> case = CASES["flows.RealNVP"]
    >>> case.make(3, seed=1).event_shape
    torch.Size([3])
    """

    name: str
    part: str
    build: Builder
    sizes: tuple[Features, ...] = VECTORS
    contexts: tuple[str, ...] = ("none",)
    domain: Domain = "real"
    thrift: int = 1
    dear: bool = False
    identity: bool = False
    expected_failures: Mapping[str, str] = field(default_factory=dict[str, str])

    def make(
        self, features: Any, context: int = 0, dtype: torch.dtype = torch.float32, seed: int = 0
    ) -> nn.Module:
        """Return the part with weights drawn from ``seed``; torch's random state stays as it was."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # NICE and Real NVP say that one feature leaves them nothing to condition on.
            warnings.filterwarnings("ignore", message=".*nothing to condition on", category=UserWarning)
            torch.manual_seed(seed)
            return self.build(features, context).to(dtype)

    def flow(
        self, features: Any, context: int = 0, dtype: torch.dtype = torch.float32, seed: int = 0
    ) -> Flow:
        """Return the part in a flow: a bijection on a standard normal, or on the circle's; a base under a
        learnable map.
        """
        return flow_of(self.make(features, context, dtype, seed), features).to(dtype)


def flow_of(part: nn.Module, features: Any) -> Flow:
    """Return a flow made of ``part``, or ``part`` if it is one."""
    if isinstance(part, Flow):
        return part
    if isinstance(part, Base):
        return Flow(part, Affine(features))
    assert isinstance(part, Bijection)
    return Flow(StandardNormal(features) if part.circles[0] is None else VonMises(features), part)


def mask_of(kind: str, features: Any, flip: bool = False) -> Mask:
    """Return the mask of that kind; "given" passes every third element, "none passed" moves all."""
    if kind in ("given", "none passed"):
        count = torch.Size([features] if isinstance(features, int) else features)
        passed = torch.arange(count.numel()).reshape(count) % 3 == (0 if kind == "given" else 3)
        return Mask.given(~passed if flip and kind == "given" else passed)
    return getattr(Mask, kind)(features, flip=flip)


def coupled(law: Law, mask: str, conditioner: Callable[..., Conditioner]) -> Builder:
    """Return the builder of two couplings, the second with the parts exchanged."""

    def build(features: Any, context: int) -> Bijection:
        layers: list[Bijection] = []
        for flip in (False, True):
            part = mask_of(mask, features, flip)
            network = conditioner(part.n_passed, part.n_moved, law.n_params, context=context)
            layers.append(Coupling(law, network, part))
        return Chain(*layers)

    return build


def small_mlp(*sizes: int, context: int = 0, **settings: Any) -> Conditioner:
    """Return a perceptron of one hidden layer."""
    options: dict[str, Any] = {"hidden": (12,), **settings}
    return MLP(*sizes, context=context, **options)


def plain(cls: Callable[..., nn.Module], *rest: Any, **settings: Any) -> Builder:
    """Return the builder of ``cls(features, *rest, **settings)``."""

    def build(features: Any, context: int) -> nn.Module:
        return cls(features, *rest, **settings)

    return build


def mixing(*after: Bijection | Builder) -> Builder:
    """Return the builder of two affine couplings, followed by layers nearer the data."""

    def build(features: Any, context: int) -> Bijection:
        inner = coupled(AffineLaw(), "alternating", small_mlp)(features, context)
        layers = [layer if isinstance(layer, Bijection) else layer(features, context) for layer in after]
        return Chain(inner, *(layer for layer in layers if isinstance(layer, Bijection)))

    return build
