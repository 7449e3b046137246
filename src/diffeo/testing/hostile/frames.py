"""Hostile tables in memory: data frames and arrays, to fit_table, to a fitted model, to the friends."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from diffeo import friends
from diffeo.bijections import Scale
from diffeo.diagnostics import verify
from diffeo.tables import TableModel, fit_table, table_training
from diffeo.testing.hostile.entry import Entry
from diffeo.testing.hostile.subjects import answered, plain_flow, refused, rows, table_model, tensor
from diffeo.testing.hostile.tensors import ForeignFrame, read_only_map

_FRIENDS: tuple[Callable[[], Any], ...] = (
    friends.Gaussian,
    partial(friends.GaussianMixture, components=(1, 2), covariances=("full",)),
    partial(friends.KernelDensity, bandwidths=2, folds=2),
    friends.GaussianCopula,
    partial(friends.VAE, hidden=(8,), max_steps=3, draws=4),
)


def frame_entries(seed: int = 0) -> Iterator[Entry]:
    """Yield the entries of hostile tables in memory."""
    for name, (data, argument, received) in _refused_frames().items():
        yield refused(f"{name} to fit_table", "arrays", partial(_fitted, data), argument, received)
    for name, (data, warns) in _accepted_frames().items():
        yield answered(f"{name} to fit_table", "arrays", partial(_fitted, data), _scores, warns)
    for name, (arguments, argument, received) in _arguments().items():
        call = partial(_fitted, _frame(), **arguments)
        yield refused(f"{name} to fit_table", "arguments", call, argument, received)
    for name, (data, argument, received) in _refused_scores().items():
        yield refused(f"{name} to TableModel.score", "arrays", partial(_scored, data), argument, received)
    for name, data in _accepted_scores().items():
        yield answered(f"{name} to TableModel.score", "arrays", partial(_scored, data), _as_expected)
    for make in _FRIENDS:
        called = make().name.split(" by")[0]
        for name, (data, received) in _refused_by_friends().items():
            call = partial(_befriended, make, data)
            yield refused(f"{name} to the {called}", "arrays", call, r"\bx\b", received)
        for name, data in _accepted_by_friends().items():
            call = partial(_befriended, make, data)
            yield answered(f"{name} to the {called}", "arrays", call, _finite_scores)
        yield refused(
            f"the {called} before fit", "arguments", partial(_unfitted, make), "fit", "not fitted|fitted"
        )
        yield refused(
            f"3 columns to the {called} of 2", "arrays", partial(_other_width, make), "x", r"\(5, 3\)"
        )
    for name, value in _verifiable().items():
        yield answered(f"{name} as rows of verify", "arrays", partial(_verified, value), _nothing_wrong)
    for name, value in _unverifiable().items():
        call = partial(_verified, value)
        yield answered(f"{name} as rows of verify", "arrays", call, _reported)
    for name, target in _no_targets().items():
        yield answered(f"{name} to verify", "arrays", partial(verify, target), _reported)


def _frame(**changed: Any) -> Any:
    import polars as pl

    x = rows(60)
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], **changed})


def _refused_frames() -> dict[str, tuple[Any, str, str]]:
    import polars as pl

    nan, infinite, none = ([*rows(60)[:, 0]] for _ in range(3))
    nan[7], infinite[8], none[9] = math.nan, math.inf, None
    day = datetime.date(2020, 1, 1)
    return {
        "no frame, a list": ([[1.0, 2.0]], "data", "list"),
        "no frame, an array": (rows(60), "data", "ndarray"),
        "no frame, a tensor": (tensor(60), "data", "Tensor"),
        "no frame, None": (None, "data", "NoneType"),
        "no frame, a path": ("data.csv", "data", "str"),
        "no frame, a dict": ({"a": [1.0]}, "data", "dict"),
        "a foreign frame": (ForeignFrame({"a": rows(60)[:, 0]}), "data", "ForeignFrame"),
        "a lazy frame": (_frame().lazy(), "data", "LazyFrame"),
        "a series": (_frame()["a"], "data", "Series"),
        "an empty frame": (pl.DataFrame(), "data", "no columns"),
        "no rows": (_frame()[:0], "data", "0 usable"),
        "1 row": (_frame()[:1], "data", "1 usable"),
        "19 rows": (_frame()[:19], "data", "19 usable"),
        "a constant column": (_frame(c=[4.0] * 60), "'c'", "4"),
        "only constant columns": (_frame(a=[1.0] * 60, b=[2] * 60), "'a'", "1"),
        "a NaN": (_frame(c=nan), "'c'", r"row 8\b"),
        "an infinity": (_frame(c=infinite), "'c'", r"row 9\b"),
        "a missing value": (_frame(c=none), "'c'", r"row 10\b"),
        "a column of NaN": (_frame(c=[math.nan] * 60), "'c'", "NaN|row 1"),
        "a column of nothing": (_frame(c=[None] * 60), "'c'", "missing|row 1"),
        "a column of text": (_frame(c=["x"] * 60), "'c'", "'x'"),
        "numbers as text": (_frame(c=["1.5"] * 60), "'c'", "'1.5'"),
        "dates": (_frame(c=[day] * 60), "'c'", "2020"),
        "moments": (_frame(c=[datetime.datetime(2020, 1, 1)] * 60), "'c'", "2020"),
        "durations": (_frame(c=[datetime.timedelta(1)] * 60), "'c'", "Duration"),
        "booleans": (_frame(c=[True, False] * 30), "'c'", "Boolean"),
        "categories": (_frame(c=pl.Series(["x", "y"] * 30, dtype=pl.Categorical)), "'c'", "Categorical"),
        "bytes": (_frame(c=[b"x"] * 60), "'c'", "Binary"),
        "lists": (_frame(c=[[1.0]] * 60), "'c'", "List"),
        "records": (_frame(c=[{"u": 1.0}] * 60), "'c'", "Struct"),
        "objects": (_frame(c=pl.Series([object()] * 60, dtype=pl.Object)), "'c'", "Object"),
        "a column without a name": (_frame(**{"": rows(60)[:, 0]}), "column 3", "no name"),
    }


def _accepted_frames() -> dict[str, tuple[Any, str]]:
    import polars as pl

    x = rows(60)[:, 0]
    outlier = x.copy()
    outlier[0] = 1e12
    whole = np.arange(60)
    return {
        "one outlier of 1e12": (_frame(c=outlier), ""),
        "whole numbers": (_frame(c=whole**2 % 61), "looks discrete"),
        "huge whole numbers": (
            _frame(c=[2**63 + 10**15 * int(k) for k in whole]),
            "determine each other|^$",
        ),
        "unsigned bytes": (_frame(c=pl.Series(whole.astype(np.uint8))), ""),
        "decimals": (_frame(c=pl.Series(rows(60, seed=3)[:, 0]).cast(pl.Decimal(20, 9))), ""),
        "float32": (_frame(c=rows(60, seed=3)[:, 0].astype(np.float32)), ""),
        "the same column twice": (_frame(c=x), "determine each other"),
        "near-collinear columns": (_frame(c=x * (1 + 1e-12)), "determine each other"),
        "rows twice": (pl.concat([_frame()[:30], _frame()[:30]]), "looks discrete|^$"),
        "a column of size 1e-300": (_frame(c=rows(60, seed=3)[:, 0] * 1e-300), ""),
        "a column of size 1e300": (_frame(c=rows(60, seed=3)[:, 0] * 1e300), ""),
        "timestamps": (_frame(c=1.7e9 + rows(60, seed=3)[:, 0]), ""),
        "one column": (_frame().select("a"), "nothing to condition on"),
        "names of spaces and newlines": (_frame().rename({"a": " \n", "b": "\U0001f600"}), ""),
    }


def _arguments() -> dict[str, tuple[dict[str, Any], str, str]]:
    return {
        "an absent column": ({"columns": ["a", "c"]}, "columns", "'c'"),
        "an absent column to drop": ({"drop": ["A"]}, "drop", "'A'"),
        "all columns to drop": ({"drop": ["a", "b"]}, "column", "'a', 'b'"),
        "columns as text": ({"columns": "ab"}, "columns", "'ab'"),
        "columns as a number": ({"columns": 2}, "columns", "2"),
        "columns of numbers": ({"columns": [0, 1]}, "columns", "0"),
        "drop as text": ({"drop": "a"}, "drop", "'a'"),
        "drop nothing": ({"drop": None}, "drop", "None"),
        "missing='ignore'": ({"missing": "ignore"}, "missing", "'ignore'"),
        "missing=None": ({"missing": None}, "missing", "None"),
        "constant='keep'": ({"constant": "keep"}, "constant", "'keep'"),
        "architecture as text": ({"architecture": "realnvp"}, "architecture", "str"),
        "architecture as a flow": ({"architecture": plain_flow()}, "architecture", "Flow"),
        "validation=0": ({"validation": 0}, "validation", "0"),
        "validation=0.9": ({"validation": 0.9}, "validation", "0.9"),
        "validation=nan": ({"validation": math.nan}, "validation", "nan"),
        "validation='0.1'": ({"validation": "0.1"}, "validation", "'0.1'"),
        "validation=None": ({"validation": None}, "validation", "None"),
        "validation of rows": ({"validation": rows(5)}, "validation", r"\["),
        "config as a dict": ({"config": {}}, "config", "dict"),
        "config as a number": ({"config": 3}, "config", "int"),
        "checkpoint as a number": ({"checkpoint": 3}, "checkpoint", "int"),
        "callback as text": ({"callback": "print"}, "callback", "str"),
        "progress as text": ({"progress": "yes"}, "progress", "str"),
    }


def _refused_scores() -> dict[str, tuple[Any, str, str]]:
    x = rows(5)
    return {
        "None": (None, "data", "NoneType"),
        "a number": (1.0, "data", r"\(\)"),
        "text": ("data.csv", "data", "str"),
        "a dict": ({"a": [1.0], "b": [1.0]}, "data", "dict"),
        "a vector": (x[:, 0], "data", r"\(5,\)"),
        "3 dimensions": (x[None], "data", r"\(1, 5, 2\)"),
        "3 columns": (rows(5, 3), "data", r"\(5, 3\)"),
        "no columns": (x[:, :0], "data", r"\(5, 0\)"),
        "an array of text": (x.astype(str), "data", "<U"),
        "an array of bytes": (x.astype("S8"), "data", "S8"),
        "an array of objects": (np.array([[object(), 1.0]]), "data", "ndarray"),
        "huge integers": (np.array([[10**400, 1]], dtype=object), "data", "ndarray"),
        "complex numbers": (x + 1j, "data", "complex128"),
        "dates": (np.zeros((5, 2), "datetime64[D]"), "data", "datetime64"),
        "a masked array": (np.ma.masked_greater(x, 0.0), "data", "masked|MaskedArray"),
        "ragged lists": ([[1.0], [1.0, 2.0]], "data", "list"),
        "a sparse tensor": (tensor(5).to_sparse(), "data", "sparse_coo"),
        "a meta tensor": (tensor(5).to("meta"), "data", "meta"),
        "a complex tensor": (tensor(5) + 1j, "data", "complex64"),
        "a frame without column b": (_frame().select("a"), "'b'", "'a'"),
        "a frame with another case": (_frame().rename({"a": "A"}), "'a'", "'A'"),
        "a frame of text": (_frame(b=["x"] * 60), "'b'", "'x'"),
        "a lazy frame": (_frame().lazy(), "data", "LazyFrame"),
        "a series": (_frame()["a"], "data", "Series"),
        "a foreign frame without column b": (ForeignFrame({"a": x[:, 0]}), "'b'", "'a'"),
        "a foreign frame of text": (ForeignFrame({"a": x[:, 0].astype(str), "b": x[:, 1]}), "data", "<U"),
    }


def _accepted_scores() -> dict[str, Any]:
    x = rows(5)
    nan, infinite, huge, missing = x.copy(), x.copy(), x.copy(), x.copy()
    nan[1, 0], infinite[2, 1], huge[3, 0], missing[:, 1] = math.nan, -math.inf, 1e300, math.nan
    frame, foreign = _frame()[:5], ForeignFrame({"c": x[:, 0], "b": x[:, 1], "a": x[:, 0]})
    return {
        "no rows": x[:0],
        "a NaN": nan,
        "an infinity": infinite,
        "1e300": huge,
        "a column of NaN": missing,
        "lists": x.tolist(),
        "whole numbers": np.arange(10).reshape(5, 2),
        "booleans": x > 0,
        "float16": x.astype(np.float16),
        "objects that are numbers": x.astype(object),
        "large integers that are objects": np.array([[10**30, 1], [10**20, 2]], dtype=object),
        "Fortran order": np.asfortranarray(x),
        "negative strides": x[::-1, ::-1],
        "a read-only memory map": read_only_map(),
        "a tensor": tensor(5),
        "a tensor with a gradient": tensor(5).requires_grad_(),
        "a bfloat16 tensor": tensor(5).bfloat16(),
        "an expanded tensor": torch.zeros(1, 2).expand(4, 2),
        "a frame with other columns too": _frame(c=["x"] * 60)[:5],
        "a frame with shuffled columns": frame.select("b", "a"),
        "a frame with missing values": frame.with_columns(a=None),
        "a foreign frame with shuffled columns": foreign,
    }


def _refused_by_friends() -> dict[str, tuple[Any, str]]:
    x = rows(20)
    nan, infinite = x.copy(), x.copy()
    nan[3, 1], infinite[4, 0] = math.nan, math.inf
    return {
        "None": (None, r"\(\)|None"),
        "text": ("data.csv", "str"),
        "a vector": (x[:, 0], r"\(20,\)"),
        "3 dimensions": (x[None], r"\(1, 20, 2\)"),
        "no rows": (x[:0], r"\(0, 2\)"),
        "a NaN": (nan, "row 3"),
        "an infinity": (infinite, "row 4"),
        "an array of text": (np.full((20, 2), "x"), "<U"),
        "objects": (np.full((20, 2), object()), "ndarray"),
        "complex numbers": (x + 1j, "complex128"),
        "dates": (np.zeros((20, 2), "datetime64[D]"), "datetime64"),
        "a masked array": (np.ma.masked_greater(x, 0.0), "masked|MaskedArray"),
        "ragged lists": ([[1.0], [1.0, 2.0]], "list"),
        "a sparse tensor": (tensor(20).to_sparse(), "sparse_coo"),
        "1 row": (x[:1], "1 "),
    }


def _accepted_by_friends() -> dict[str, Any]:
    x = rows(20)
    constant, outlier = x.copy(), x.copy()
    constant[:, 1], outlier[0, 0] = 4.0, 1e12
    return {
        "lists": x.tolist(),
        "a constant column": constant,
        "one outlier of 1e12": outlier,
        "the same column twice": x[:, [0, 0]],
        "rows twice": np.repeat(x[:10], 2, 0),
        "whole numbers": (10 * x).astype(int),
        "rows of size 1e-200": x * 1e-200,
        "rows of size 1e200": x * 1e200,
        "a tensor with a gradient": tensor(20).requires_grad_(),
        "negative strides": x[::-1, ::-1],
    }


def _verifiable() -> dict[str, Any]:
    nan = tensor(4)
    nan[0, 0] = math.nan
    return {
        "a NaN in one row": nan,
        "integers": tensor(4).long(),
        "float64": tensor(4).double(),
        "a list": [[1.0, 2.0], [-0.5, 0.25]],
        "an array": rows(4),
    }


def _unverifiable() -> dict[str, Any]:
    return {
        "only NaN": tensor(4) * math.nan,
        "no rows": tensor(4)[:0],
        "3 features for 2": tensor(4, 3),
        "0 dimensions": torch.tensor(1.0),
        "text": "abc",
        "complex numbers": tensor(4) + 1j,
        "a sparse tensor": tensor(4).to_sparse(),
        "a meta tensor": tensor(4).to("meta"),
    }


def _no_targets() -> dict[str, Any]:
    return {"None": None, "a number": 3, "text": "flow", "a linear layer": torch.nn.Linear(2, 2),
            "a class that cannot be built": TableModel}  # fmt: skip


def _fitted(data: Any, **arguments: Any) -> tuple[TableModel, Any]:
    config = table_training(max_steps=2, device="cpu")
    given: dict[str, Any] = {"config": config, **arguments}
    model, _ = fit_table(data, **given)
    return model, data


def _scores(found: tuple[TableModel, Any]) -> str:
    model, data = found
    scores = model.score(data)
    return (
        "" if np.isfinite(scores).mean() > 0.95 else f"{(~np.isfinite(scores)).sum()} rows without density"
    )


def _scored(data: Any) -> tuple[Any, np.ndarray]:
    return data, table_model().score(data)


def _as_expected(found: tuple[Any, np.ndarray]) -> str:
    """Compare with a plain array of the same numbers, row by row."""
    data, scores = found
    if hasattr(data, "with_columns"):
        values = data.select("a", "b").to_numpy()
    elif hasattr(data, "columns"):
        values = data[["a", "b"]].to_numpy()
    else:
        values = data.detach().double().numpy() if isinstance(data, torch.Tensor) else data
    plain = np.array([[_number(item) for item in row] for row in values], dtype=np.float64).reshape(-1, 2)
    wanted = np.array([table_model().score(row[None])[0] for row in plain])
    with np.errstate(all="ignore"):
        far = np.abs(plain).max(1) > 1e16
    right = np.array_equal(wanted, scores, equal_nan=True)
    right &= bool((np.isnan(scores) == np.isnan(plain).any(1)).all())
    right &= bool(np.isneginf(scores[far & ~np.isnan(plain).any(1)]).all())
    return "" if right else f"{scores}, where {wanted} is right"


def _number(item: Any) -> float:
    return math.nan if item is None else float(item)


def _befriended(make: Callable[[], Any], data: Any) -> np.ndarray:
    return make().fit(data).log_prob(data)


def _unfitted(make: Callable[[], Any]) -> Any:
    return make().log_prob(rows(5))


def _other_width(make: Callable[[], Any]) -> Any:
    return make().fit(rows(20)).log_prob(rows(5, 3))


def _finite_scores(found: np.ndarray) -> str:
    return "" if found.shape == (20,) and bool(np.isfinite(found).all()) else str(found)


def _verified(value: Any) -> Any:
    return verify(Scale(2), value)


def _nothing_wrong(report: Any) -> str:
    return "" if report.ok else str(report)


def _reported(report: Any) -> str:
    """A report says that it could not judge, and why."""
    if report.ok:
        return "found nothing wrong"
    details = [figure.detail for figures in report.requirements.values() for figure in figures]
    return "" if any(details) else "no figure says why"
