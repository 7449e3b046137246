"""diffeo: exact probability densities of real data, learned with normalizing flows.

>>> import torch, diffeo
>>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).cumsum(-1)
>>> flow = diffeo.flows.RealNVP(2, couplings=4, hidden=(32,))
>>> result = diffeo.fit(flow, x, config=diffeo.TrainConfig(max_epochs=5))
>>> flow.log_prob(x).shape, flow.sample((3,)).shape
(torch.Size([500]), torch.Size([3, 2]))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from diffeo._version import __version__

if TYPE_CHECKING:
    from diffeo import (
        bijections,
        conditioners,
        distributions,
        errors,
        flows,
        images,
        laws,
        objectives,
        tables,
        toys,
    )
    from diffeo.comparison import Comparison, compare
    from diffeo.diagnostics import verify
    from diffeo.estimator import FlowDensity
    from diffeo.files import load
    from diffeo.flows import Flow
    from diffeo.registry import register
    from diffeo.tables import Schema
    from diffeo.training import FitResult, TargetResult, TrainConfig, accelerate, fit, fit_target
    from diffeo.understanding import audit

__all__ = [
    "Comparison",
    "FitResult",
    "Flow",
    "FlowDensity",
    "Schema",
    "TargetResult",
    "TrainConfig",
    "__version__",
    "accelerate",
    "audit",
    "bijections",
    "compare",
    "conditioners",
    "distributions",
    "errors",
    "fit",
    "fit_target",
    "flows",
    "images",
    "laws",
    "load",
    "objectives",
    "register",
    "tables",
    "toys",
    "verify",
]

#: Where each name lives that is not a folder of its own.
_HOMES = {
    "Comparison": "comparison",
    "FitResult": "training",
    "FlowDensity": "estimator",
    "Flow": "flows",
    "Schema": "tables",
    "TargetResult": "training",
    "TrainConfig": "training",
    "accelerate": "training",
    "compare": "comparison",
    "audit": "understanding",
    "fit": "training",
    "fit_target": "training",
    "load": "files",
    "register": "registry",
    "verify": "diagnostics",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is: ``diffeo --help`` must not wait for torch."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"diffeo.{_HOMES[name]}"), name)
    else:
        try:
            value = importlib.import_module(f"diffeo.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"diffeo.{name}":
                raise
            raise AttributeError(f"module 'diffeo' has no attribute {name!r}") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
