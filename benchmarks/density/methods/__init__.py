"""Who is measured: name in the figures ↦ module of this folder, its function and its first arguments."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

from benchmarks.density.methods.method import Fitted, Lacks

#: Methods of the numeric part: (module, function, first arguments).
NUMERIC: dict[str, tuple[str, str, tuple[object, ...]]] = {
    "diffeo": ("ours", "numbers", ()),
    "Gaussian": ("classical", "gaussian", ()),
    "mixture": ("classical", "mixture", ()),
    "kernel": ("classical", "kernel", ()),
    "zuko NSF": ("zuko", "fit", ("NSF", 64)),
    "zuko MAF": ("zuko", "fit", ("MAF", 64)),
    "flowjax NSF": ("flowjax", "fit", ("NSF",)),
    "flowjax MAF": ("flowjax", "fit", ("MAF",)),
}

#: Measured only where asked for: batches of 512 rows, which no tutorial has, suit large tables better; the
#: neural spline flow by its published settings, which want hours.
ASKED: dict[str, tuple[str, str, tuple[object, ...]]] = {
    "zuko NSF, batch 512": ("zuko", "fit", ("NSF", 512)),
    "zuko MAF, batch 512": ("zuko", "fit", ("MAF", 512)),
    "NSF as published": ("nflows", "fit", ()),
}

#: Methods of the native part, which take frames.
NATIVE: dict[str, tuple[str, str, tuple[object, ...]]] = {
    "diffeo": ("ours", "frame", ()),
    "marginals": ("ours", "marginals", ()),
}


def method(name: str, native: bool) -> Callable[..., Fitted]:
    """Return the function that fits; raise :class:`Lacks` where its library is not installed."""
    module, function, first = (NATIVE if native else {**NUMERIC, **ASKED})[name]
    try:
        found = importlib.import_module(f"benchmarks.density.methods.{module}")
    except ModuleNotFoundError as error:
        raise Lacks(f"{error.name} is not installed") from None
    return partial(getattr(found, function), *first)


__all__ = ["ASKED", "NATIVE", "NUMERIC", "Fitted", "Lacks", "method"]
