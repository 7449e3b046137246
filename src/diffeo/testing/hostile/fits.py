"""Hostile rows to fit to: what ``diffeo.fit`` is given as data, context, held-out rows and settings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from diffeo.flows import Flow
from diffeo.testing.hostile.entry import Entry
from diffeo.testing.hostile.subjects import answered, fresh_flow, plain_flow, refused, rows, tensor
from diffeo.testing.hostile.tensors import ForeignFrame, read_only_map
from diffeo.training import FitResult, TrainConfig, fit

_STEPS = 2


def fit_entries(seed: int = 0) -> Iterator[Entry]:
    """Yield the entries of hostile rows to fit to."""
    for name, (value, received) in _refused().items():
        yield refused(f"{name} to fit", "arrays", partial(_fitted, value), r"\bx\b", received)
    for name, (value, received) in _refused_as_held_out().items():
        call = partial(_fitted, rows(), validation=value)
        yield refused(f"{name} as validation of fit", "arrays", call, "validation", received)
    for name, (value, received) in _refused_as_context().items():
        call = partial(_fitted, rows(), value, context_features=3)
        yield refused(f"{name} as the context of fit", "arrays", call, "context", received)
    yield refused("a context without need to fit", "arrays", partial(_fitted, rows(), rows(40, 3)),
                  "context", r"\(40, 3\)")  # fmt: skip
    for name, value in _accepted().items():
        yield answered(f"{name} to fit", "arrays", partial(_fitted, value), _complaint)
    yield answered("a read-only memory map to fit", "arrays", _fitted_to_map, _complaint)
    for name, (value, warns) in _warned().items():
        yield answered(f"{name} to fit", "arrays", partial(_fitted, value), _complaint, warns)
    for name, (argument, value, received) in _arguments().items():
        call = partial(_fit_with, **{argument: value})
        yield refused(f"{name} as {argument} of fit", "arguments", call, argument, received)


def _refused() -> dict[str, tuple[Any, str]]:
    import polars as pl

    x = rows()
    nan, infinite, far, wide = x.copy(), x.copy(), x.copy(), x.astype(object)
    nan[7, 1], infinite[3, 0], far[5, 0], wide[2, 1] = math.nan, math.inf, 1e300, 10**400
    only_nan, constant = x.copy(), x.copy()
    only_nan[:, 1], constant[:, 1] = math.nan, 4.0
    return {
        "a list": (x.tolist(), "list"),
        "a list of arrays": ([x[0], x[1]], "list"),
        "None": (None, "NoneType"),
        "a number": (3.0, "float"),
        "text": ("data.csv", "str"),
        "a dict": ({"a": x[:, 0]}, "dict"),
        "a data frame": (pl.DataFrame({"a": x[:, 0], "b": x[:, 1]}), "DataFrame"),
        "a foreign data frame": (ForeignFrame({"a": x[:, 0], "b": x[:, 1]}), "ForeignFrame"),
        "integers": (np.arange(80).reshape(40, 2), "int64"),
        "booleans": (x > 0, "bool"),
        "objects": (x.astype(object), "object"),
        "huge integers": (wide, "object"),
        "strings": (x.astype(str), "<U"),
        "bytes": (x.astype("S8"), "S8"),
        "dates": (np.zeros((40, 2), "datetime64[D]"), "datetime64"),
        "durations": (np.zeros((40, 2), "timedelta64[s]"), "timedelta64"),
        "complex numbers": (x + 1j, "complex128"),
        "a structured array": (np.zeros(40, [("a", "f8"), ("b", "f8")]), "'a'"),
        "a masked array": (np.ma.masked_greater(x, 1.0), "masked"),
        "no rows": (x[:0], "0 "),
        "1 row": (x[:1], "1 "),
        "9 rows": (x[:9], "9 "),
        "a NaN": (nan, r"x\[7\].*nan"),
        "an infinity": (infinite, r"x\[3\].*inf"),
        "a column of NaN": (only_nan, "40 row"),
        "a number beyond float32": (far, r"x\[5\].*1e\+300"),
        "a constant column": (constant, "always 4"),
        "equal rows": (np.ones((40, 2)), "2 column"),
        "a vector": (x[:, 0], r"\(40,\)"),
        "0 dimensions": (np.array(1.0), r"\(\)"),
        "3 dimensions": (x[None], r"\(1, 40, 2\)"),
        "1 column": (x[:, :1], r"\(40, 1\)"),
        "3 columns": (rows(40, 3), r"\(40, 3\)"),
        "columns before rows": (x.T, r"\(2, 40\)"),
        "a float64 tensor": (torch.from_numpy(x), "float64"),
        "a float16 tensor": (tensor(40).half(), "float16"),
        "a bfloat16 tensor": (tensor(40).bfloat16(), "bfloat16"),
        "an integer tensor": (tensor(40).long(), "int64"),
        "a boolean tensor": (tensor(40) > 0, "bool"),
        "a complex tensor": (tensor(40) + 1j, "complex64"),
        "a sparse tensor": (tensor(40).to_sparse(), "sparse_coo"),
        "a meta tensor": (tensor(40).to("meta"), "meta"),
    }


def _refused_as_held_out() -> dict[str, tuple[Any, str]]:
    x = rows()
    nan = x.copy()
    nan[0, 0] = math.nan
    return {
        "0.0": (0.0, "0.0"),
        "1.0": (1.0, "1.0"),
        "-0.1": (-0.1, "-0.1"),
        "1.5": (1.5, "1.5"),
        "NaN": (math.nan, "nan"),
        "infinity": (math.inf, "inf"),
        "0": (0, "0"),
        "True": (True, "True"),
        "text": ("0.1", "0.1"),
        "a list": ([[0.0, 1.0]], "list"),
        "a dict": ({}, "dict"),
        "three arrays": ((x, x, x), "3"),
        "no rows": (x[:0], "no rows"),
        "3 columns": (rows(5, 3), r"\(5, 3\)"),
        "a NaN": (nan, r"\[0\].*nan"),
        "a context without need": ((x, rows(40, 3)), r"\(40, 3\)"),
        "integers": (np.ones((5, 2), int), "int64"),
    }


def _refused_as_context() -> dict[str, tuple[Any, str]]:
    c = rows(40, 3)
    nan = c.copy()
    nan[11, 2] = math.nan
    return {
        "nothing": (None, "missing"),
        "39 rows": (c[:39], "39"),
        "one row for all": (c[0], r"\(3,\)"),
        "2 columns": (c[:, :2], r"\(40, 2\)"),
        "a NaN": (nan, r"context\[11\].*nan"),
        "integers": (c.astype(int), "int64"),
        "a list": (c.tolist(), "list"),
        "a float64 tensor": (torch.from_numpy(c), "float64"),
        "strings": (c.astype(str), "<U"),
    }


def _accepted() -> dict[str, Any]:
    x = rows()
    outlier, near = x.copy(), x.copy()
    outlier[0, 0], near[:, 1] = 1e12, x[:, 0] * (1 + 1e-9)
    return {
        "one outlier of 1e12": outlier,
        "near-collinear columns": near,
        "duplicated rows": np.repeat(x[:4], 10, 0),
        "float16": x.astype(np.float16),
        "float32": x.astype(np.float32),
        "extended precision": x.astype(np.longdouble),
        "the other byte order": x.astype(">f8"),
        "Fortran order": np.asfortranarray(x),
        "negative strides": x[::-1, ::-1],
        "every second row of every second column": rows(80, 4)[::2, ::2],
        "two values a column": np.where(x > 0, 1.0, -1.0),
        "a tensor with a gradient": tensor(40).requires_grad_(),
        "a tensor with a history": tensor(40).requires_grad_() * 2,
        "an expanded tensor": torch.randn(40, 1, generator=torch.Generator().manual_seed(0)).expand(40, 2),
        "a transposed tensor": tensor(40).T.contiguous().T,
        "a constant column but for one row": np.stack([x[:, 0], np.eye(40)[0]], 1),
    }


def _warned() -> dict[str, tuple[Any, str]]:
    return {
        "rows of size 1e-30": (rows() * 1e-30, "nothing in the flow standardises"),
        "rows of size 1e30": (rows() * 1e30, "nothing in the flow standardises|not finite|finite mean"),
        "rows of size 1e-3": (rows() * 1e-3, "nothing in the flow standardises"),
        "timestamps": (1.7e9 + 1e3 * rows(), "nothing in the flow standardises"),
    }


def _arguments() -> dict[str, tuple[str, Any, str]]:
    return {
        "a path": ("flow", "flow.safetensors", "str"),
        "None": ("flow", None, "NoneType"),
        "a bijection": ("flow", plain_flow().bijection, "Chain"),
        "a class": ("flow", type(plain_flow()), "type"),
        "a dict": ("config", {"max_steps": 1}, "dict"),
        "a number": ("config", 5, "int"),
        "text": ("objective", "nll", "str"),
        "a function": ("objective", max, "builtin"),
        "3": ("checkpoint", 3, "int"),
        "bytes": ("checkpoint", b"a", "bytes"),
        "a list of text": ("callback", ["print"], "list"),
        "a word": ("callback", "print", "str"),
        "yes": ("progress", "yes", "str"),
        "1": ("progress", 1, "int"),
    }


def _fitted(
    x: Any, context: Any = None, *, validation: Any = 0.25, context_features: int = 0
) -> tuple[Flow, FitResult]:
    flow = fresh_flow(context_features)
    return _fit_with(flow=flow, x=x, context=context, validation=validation)


def _fitted_to_map() -> tuple[Flow, FitResult]:
    return _fitted(read_only_map())


def _fit_with(**arguments: Any) -> tuple[Flow, FitResult]:
    config = TrainConfig(max_steps=_STEPS, batch_size=16, device="cpu")
    given: dict[str, Any] = {"flow": fresh_flow(), "x": rows(), "config": config, **arguments}
    flow = given.pop("flow")
    return flow, fit(flow, given.pop("x"), **given)


def _complaint(found: tuple[Flow, FitResult]) -> str:
    flow, result = found
    if result.steps != _STEPS or result.stopped_by != "max_steps":
        return f"{result.steps} steps, stopped by {result.stopped_by}"
    if not all(bool(parameter.isfinite().all()) for parameter in flow.parameters()):
        return "a weight is not finite"
    if any(math.isnan(entry.held_out_nats) for entry in result.history):
        return "held-out nats are NaN"
    return "" if bool(flow.log_prob(tensor()).isfinite().all()) else "ordinary rows have no density"
