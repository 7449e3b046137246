"""The table of cases: every registered part, in every structure that it goes into.

A case builds one part for a number of features and of context features. The contract of
:mod:`diffeo.testing.contract` runs over all of them; a test fails when a registered kind has no case.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, TypeAlias

import torch
from torch import distributions as td
from torch import nn

from diffeo.bijections import (
    ActNorm,
    Affine,
    BatchNorm,
    Bijection,
    Chain,
    Coupling,
    Identity,
    Inverse,
    Log,
    Logit,
    Mask,
    Permutation,
    Scale,
    Standardize,
    Whiten,
)
from diffeo.conditioners import MLP, Conditioner, ResidualMLP
from diffeo.distributions import Base, DiagonalNormal, StandardLogistic, StandardNormal, Uniform, Wrapped
from diffeo.flows import NICE, Flow, RealNVP
from diffeo.laws import Additive, Law
from diffeo.laws import Affine as AffineLaw

#: What a part is built for: a number of features, or the (channels, height, width) of an image.
Features: TypeAlias = int | tuple[int, int, int]
Builder: TypeAlias = Callable[[Any, int], nn.Module]

#: The set that data of a case lie in; "raw" is ℝ with columns of very different units.
Domain = Literal["real", "raw", "positive", "box"]

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
        identity: whether parameters of zero make it the identity map, exactly.
        expected_failures: the checks that it is known to fail, each with the reason; strict.

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
        """Return the part in a flow: a bijection on a standard normal, a base under a learnable map."""
        return flow_of(self.make(features, context, dtype, seed), features).to(dtype)


def flow_of(part: nn.Module, features: Any) -> Flow:
    """Return a flow made of ``part``, or ``part`` if it is one."""
    if isinstance(part, Flow):
        return part
    if isinstance(part, Base):
        return Flow(part, Affine(features))
    assert isinstance(part, Bijection)
    return Flow(StandardNormal(features), part)


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


def _plain(cls: Callable[..., nn.Module], *rest: Any, **settings: Any) -> Builder:
    def build(features: Any, context: int) -> nn.Module:
        return cls(features, *rest, **settings)

    return build


def _mixing(*after: Bijection | Builder) -> Builder:
    """Return the builder of two affine couplings, followed by layers nearer the data."""

    def build(features: Any, context: int) -> Bijection:
        inner = coupled(AffineLaw(), "alternating", small_mlp)(features, context)
        layers = [layer if isinstance(layer, Bijection) else layer(features, context) for layer in after]
        return Chain(inner, *(layer for layer in layers if isinstance(layer, Bijection)))

    return build


def _permuted(features: int, context: int) -> Bijection:
    return Chain(Permutation.random(features, seed=3), Permutation.reverse(features))


def _inverted(features: int, context: int) -> Bijection:
    return Inverse(coupled(AffineLaw(), "halves", small_mlp)(features, context))


def _identity(features: Features, context: int) -> Bijection:
    return Identity(1 if isinstance(features, int) else 3)


def _logit(features: int) -> Bijection:
    return Logit()


def _nested(features: int, context: int) -> Bijection:
    inner = Chain(Scale(features), Chain(Affine(features), Identity()))
    return Chain(inner, coupled(AffineLaw(), "halves", small_mlp)(features, context))


def _wrapped(make: Callable[[int], td.Distribution]) -> Builder:
    def build(features: int, context: int) -> Base:
        return Wrapped(make(features))

    return build


def _spread(features: int) -> torch.Tensor:
    return torch.linspace(0.5, 2.0, features)


def _student(features: int) -> td.Distribution:
    return td.StudentT(3.0 + _spread(features))


def _full_normal(features: int) -> td.Distribution:
    factor = torch.eye(features) + 0.5 * torch.ones(features, features).tril(-1) / features
    return td.MultivariateNormal(torch.zeros(features), scale_tril=factor)


def _mixture(features: int) -> td.Distribution:
    centres = torch.stack([-_spread(features), torch.zeros(features), _spread(features)])
    parts = td.Independent(td.Normal(centres, 0.5), 1)
    return td.MixtureSameFamily(td.Categorical(torch.tensor([0.2, 0.5, 0.3])), parts)


def _log_normal(features: int) -> td.Distribution:
    return td.TransformedDistribution(td.Normal(torch.zeros(features), 0.5), [td.ExpTransform()])


def _nested_base(features: int) -> td.Distribution:
    inner = td.Independent(td.Laplace(torch.zeros(features), _spread(features)), 1)
    shift = td.AffineTransform(torch.ones(features), 2.0, event_dim=1)
    return td.TransformedDistribution(inner, [shift])


def _beta(features: int) -> td.Distribution:
    return td.Beta(_spread(features) + 1.0, _spread(features) + 3.0)


def _uniform(features: Any, context: int) -> Base:
    return Uniform(features, low=-1.0, high=3.0)


def _nice(mask: str, **settings: Any) -> Builder:
    def build(features: int, context: int) -> Flow:
        return NICE(features, context, hidden=(12,), mask=mask, **settings)

    return build


def _real_nvp(*after: Callable[[int], Bijection], **settings: Any) -> Builder:
    def build(features: int, context: int) -> Flow:
        options: dict[str, Any] = {"couplings": 4, "hidden": (12,), **settings}
        flow = RealNVP(features, context, **options)
        for layer in after:
            flow = flow.then(layer(features))
        return flow

    return build


def _bijections() -> Sequence[Case]:
    def case(name: str, build: Builder, **settings: Any) -> Case:
        return Case(f"bijections.{name}", "bijection", build, **settings)

    return [
        case("Identity", _identity, identity=True),
        case("Identity, images", _identity, sizes=IMAGES, identity=True),
        case("Inverse", _inverted, contexts=CONTEXTS, identity=True),
        case("Chain, nested", _nested, contexts=CONTEXTS, identity=True),
        case("Affine", _plain(Affine), identity=True),
        case("Affine, images", _plain(Affine), sizes=IMAGES, identity=True),
        case("Scale", _plain(Scale), identity=True),
        case("Permutation", _permuted),
        case("ActNorm", _mixing(_plain(ActNorm))),
        case("ActNorm, images", _plain(ActNorm), sizes=IMAGES),
        case("BatchNorm", _mixing(_plain(BatchNorm))),
        case("BatchNorm, images", _plain(BatchNorm), sizes=IMAGES),
        case("Standardize, robust", _mixing(_plain(Standardize)), domain="raw"),
        case("Standardize, moments", _mixing(_plain(Standardize, "moments")), domain="raw"),
        case("Standardize, images", _plain(Standardize), sizes=IMAGES, domain="raw"),
        case("Whiten, pca", _mixing(_plain(Whiten))),
        case("Whiten, cholesky", _mixing(_plain(Whiten, "cholesky"))),
        case("Log", _mixing(Log(shift=-0.5)), domain="positive"),
        case("Logit", _mixing(Logit()), domain="box"),
        case("Logit, α = 0.05", _mixing(Logit(alpha=0.05)), domain="box"),
    ]


def _bases() -> Sequence[Case]:
    def case(name: str, build: Builder, **settings: Any) -> Case:
        return Case(f"distributions.{name}", "base", build, **settings)

    return [
        case("StandardNormal", _plain(StandardNormal)),
        case("StandardNormal, images", _plain(StandardNormal), sizes=IMAGES),
        case("StandardLogistic", _plain(StandardLogistic)),
        case("DiagonalNormal", _plain(DiagonalNormal)),
        case("Uniform", _uniform),
        case("Wrapped, Student's t", _wrapped(_student)),
        case("Wrapped, full normal", _wrapped(_full_normal)),
        case("Wrapped, mixture", _wrapped(_mixture)),
        case("Wrapped, log-normal", _wrapped(_log_normal)),
        case("Wrapped, beta", _wrapped(_beta), domain="box"),
        case("Wrapped, nested", _wrapped(_nested_base)),
    ]


def _flows() -> Sequence[Case]:
    def case(name: str, build: Builder, **settings: Any) -> Case:
        return Case(f"flows.{name}", "flow", build, contexts=CONTEXTS, **settings)

    return [
        case("NICE", _nice("alternating")),
        case("NICE, halves", _nice("halves")),
        case("RealNVP", _real_nvp()),
        case("RealNVP, halves, tanh", _real_nvp(mask="halves", activation="tanh", batch_norm=False)),
        case("RealNVP, Standardize", _real_nvp(Standardize), domain="raw"),
        case("RealNVP, Whiten, Standardize", _real_nvp(Whiten, Standardize), domain="raw"),
        case("RealNVP, Logit", _real_nvp(_logit), domain="box"),
    ]


def _all() -> dict[str, Case]:
    cases = [
        *law_cases("laws.Additive", Additive()),
        *law_cases("laws.Affine", AffineLaw()),
        conditioner_case("conditioners.MLP", MLP),
        conditioner_case("conditioners.ResidualMLP", ResidualMLP),
        *_bijections(),
        *_bases(),
        *_flows(),
    ]
    return {case.name: case for case in cases}


#: Every case, by name.
CASES: Mapping[str, Case] = _all()
