"""Cases of the catalogue: every named flow, small."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from diffeo import flows
from diffeo.distributions import ConditionalNormal
from diffeo.testing.cases.case import Builder, Case, Features

_SIZES: tuple[Features, ...] = (1, 2, 3)

#: The settings that make each named flow small.
SMALL: Mapping[str, dict[str, Any]] = {
    "BNAF": {"transforms": 2, "hidden": (3,)},
    "BPF": {"degree": 6, "hidden": (12,)},
    "FlowPP": {"couplings": 2, "components": 3, "width": 8, "blocks": 1},
    "GF": {"transforms": 2, "components": 3, "hidden": (8,)},
    "Glow": {"steps": 3, "hidden": (12,)},
    "IAF": {"transforms": 2, "hidden": (12,)},
    "MADE": {"hidden": (12,)},
    "MAF": {"transforms": 2, "hidden": (12,)},
    "NAF": {"transforms": 2, "units": 3, "hidden": (12,)},
    "NCSF": {"transforms": 2, "bins": 4, "hidden": (12,)},
    "NSF": {"transforms": 2, "bins": 4, "hidden": (12,)},
    "Planar": {"transforms": 3, "hidden": (8,)},
    "Radial": {"transforms": 3, "hidden": (8,)},
    "ResidualFlow": {"blocks": 2, "hidden": (8,)},
    "SOSPF": {"transforms": 2, "polynomials": 2, "degree": 2, "hidden": (12,)},
    "Sylvester": {"transforms": 2, "hidden": (8,)},
    "TTF": {"transforms": 2, "bins": 4, "hidden": (12,)},
    "UNAF": {"transforms": 1, "units": 2, "hidden": (12,)},
}

#: Flows of which one direction has no formula.
_SOLVED = (
    "BNAF",
    "BPF",
    "FlowPP",
    "GF",
    "NAF",
    "Planar",
    "Radial",
    "ResidualFlow",
    "SOSPF",
    "Sylvester",
    "UNAF",
)

#: Flows whose samples are searches that cost more than all other checks of them.
_SEARCHED = ("GF", "UNAF")


def small(name: str, **settings: Any) -> Builder:
    """Return the builder of the named flow with few parameters."""
    make: Callable[..., flows.Flow] = getattr(flows, name)

    def build(features: int, context: int) -> flows.Flow:
        with warnings.catch_warnings():
            # Glow says that one feature leaves it nothing to condition on.
            warnings.filterwarnings("ignore", message=".*nothing to condition on", category=UserWarning)
            return make(features, context, **{**SMALL[name], **settings})

    return build


def _read_by_the_base(name: str) -> Builder:
    """Return the builder of the named flow without context, on a base that reads one."""

    def build(features: int, context: int) -> nn.Module:
        base = ConditionalNormal(features, context, hidden=(8,)) if context else None
        return small(name, base=base)(features, 0)

    return build


NAMED_FLOWS = [
    *(
        Case(
            f"flows.{name}",
            "flow",
            small(name),
            sizes=_SIZES,
            contexts=("none", "per row"),
            domain="circle" if name == "NCSF" else "real",
            thrift=4 if name in _SEARCHED else 1,
            dear=name in _SOLVED,
        )
        for name in SMALL
    ),
    Case(
        "flows.NSF, coupling",
        "flow",
        small("NSF", structure="coupling", tails="linear"),
        sizes=_SIZES,
        contexts=("none", "per row"),
    ),
    Case(
        "flows.NCSF, coupling",
        "flow",
        small("NCSF", structure="coupling"),
        sizes=_SIZES,
        contexts=("none", "per row"),
        domain="circle",
    ),
    *(
        Case(
            f"flows.{name}, the base alone reads the context",
            "flow",
            _read_by_the_base(name),
            sizes=_SIZES,
            contexts=("none", "shared", "per row"),
        )
        for name in ("Glow", "MAF")
    ),
]
