"""The promises that mathematics asks of any flow, measured on flows of zuko and nflows in the same way.

Their figures stand beside ours on the page of :mod:`reliability`. The flows are small, as ours there are,
and stressed in the same way; a peer promised none of this, and is measured through an adapter
(:mod:`diffeo.testing.peers`). Without zuko or nflows the column is empty.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow
from diffeo.testing import PROMISES, Case, peers, spread
from diffeo.testing.compiled import one_graph
from diffeo.testing.learned import above_entropy, far_and_near
from diffeo.testing.variant import Variant

#: Promises that any flow can keep or break: files and torch's global state are diffeo's own.
LABELS = ("A1", "A3", "A4", "A5", "A9", "B2", "B3", "E1")


def _zuko(name: str, **settings: Any) -> Callable[[Any, int], nn.Module]:
    def build(features: Any, context: int) -> nn.Module:
        import zuko

        options = {"transforms": 2, "hidden_features": (12,), **settings}
        return peers.from_zuko(getattr(zuko.flows, name)(features, context, **options), context)

    return build


def _nflows(make: Callable[[int, int | None], nn.Module]) -> Callable[[Any, int], nn.Module]:
    def build(features: Any, context: int) -> nn.Module:
        return peers.from_nflows(make(features, context or None), context)

    return build


def _stack(layer: Callable[..., nn.Module], **settings: Any) -> Callable[[int, int | None], nn.Module]:
    """Return the maker of two layers of nflows over its standard normal, their orders reversed."""

    def make(features: int, context: int | None) -> nn.Module:
        from nflows.distributions import StandardNormal
        from nflows.flows import Flow as Peer
        from nflows.transforms import CompositeTransform, ReversePermutation

        parts = (layer(features, 12, context_features=context, **settings) for _ in range(2))
        layers = [part for one in parts for part in (ReversePermutation(features), one)]
        return Peer(CompositeTransform(layers), StandardNormal([features]))

    return make


def _affine(*given: Any, **settings: Any) -> nn.Module:
    from nflows.transforms import MaskedAffineAutoregressiveTransform

    return MaskedAffineAutoregressiveTransform(*given, **settings)


def _spline(*given: Any, **settings: Any) -> nn.Module:
    from nflows.transforms import MaskedPiecewiseRationalQuadraticAutoregressiveTransform as Spline

    return Spline(*given, num_bins=4, tails="linear", tail_bound=3.0, **settings)


#: What is built, by library and name.
_BUILDERS: Mapping[str, Callable[[Any, int], nn.Module]] = {
    "zuko MAF": _zuko("MAF"),
    "zuko NICE": _zuko("NICE"),
    "zuko NSF": _zuko("NSF", bins=4),
    "zuko NAF": _zuko("NAF", network={"hidden_features": (8,)}),
    "zuko SOSPF": _zuko("SOSPF"),
    "zuko BPF": _zuko("BPF", degree=6),
    "nflows MAF": _nflows(_stack(_affine)),
    "nflows NSF": _nflows(_stack(_spline)),
}

CASES: Mapping[str, Case] = {
    name: Case(name, "flow", build, sizes=(2, 3), contexts=("none", "per row"))
    for name, build in _BUILDERS.items()
    if importlib.util.find_spec(name.split()[0]) is not None
}


def measured(name: str, labels: tuple[str, ...], toys: tuple[str, ...]) -> Iterator[Figure]:
    """Yield what a peer's flow measures of the promises with these labels."""
    case = CASES[name]
    for variant in spread(case):
        for promise in PROMISES:
            if promise.figure in LABELS and promise.figure in labels:
                yield from _kept(promise.figure, lambda v=variant, p=promise: p.measure(v))
    if "A2" in labels:
        yield from _kept("A2", lambda: far_and_near(case))
    for toy in toys if "A6" in labels else ():
        yield from _kept("A6", lambda toy=toy: [above_entropy(case, toy)])
    if "E3" in labels:
        variant = Variant(case, 3, dtype=torch.float32)
        flow = variant.flow
        assert isinstance(flow, Flow)
        yield from _kept("E3", lambda: [one_graph(flow, variant.x, None)])


def _kept(label: str, measure: Callable[[], Any]) -> Iterator[Figure]:
    """Yield the figures, or a failed one where the peer raised."""
    try:
        yield from measure()
    except Exception as error:  # a peer's own assertion, or a call that it does not take
        text = f"{type(error).__name__}: {error}"[:200]
        yield Figure("raised", worst=float("nan"), limit=0.0, tested=1, failed=1, detail=text, figure=label)
