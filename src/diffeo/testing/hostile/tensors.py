"""Hostile tensors: layouts, dtypes, shapes and things that are no tensors, for the density itself.

Where a tensor is odd but meaningful (a view, no rows, a gradient), the answer is bit for bit that of an
ordinary copy of it.
"""

from __future__ import annotations

import datetime
import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffeo.testing.hostile.entry import Entry
from diffeo.testing.hostile.subjects import (
    CONTEXT,
    FEATURES,
    answered,
    conditional_flow,
    plain_flow,
    refused,
    rows,
    tensor,
)

Make = Callable[[], Any]


class ForeignFrame:
    """Looks like a data frame of another library: ``columns``, ``to_numpy`` and selection by name."""

    def __init__(self, columns: dict[str, np.ndarray]) -> None:
        self._columns = columns

    @property
    def columns(self) -> list[str]:
        """Return the names."""
        return list(self._columns)

    def __getitem__(self, names: list[str]) -> ForeignFrame:
        return ForeignFrame({name: self._columns[name] for name in names})

    def to_numpy(self) -> np.ndarray:
        """Return the values."""
        return np.stack(list(self._columns.values()), 1)


def tensor_entries(seed: int = 0) -> Iterator[Entry]:
    """Yield the entries of hostile tensors for log_prob, encode, decode and their context."""
    for operation, argument in (("log_prob", "x"), ("encode", "x"), ("decode", "z")):
        for name, make in _no_tensors().items():
            call = partial(_given, operation, make)
            yield refused(
                f"{name} to {operation}", "arrays", call, rf"\b{argument}\b", type(make()).__name__
            )
        for name, (make, received) in _refused().items():
            call = partial(_given, operation, make)
            yield refused(f"{name} to {operation}", "arrays", call, rf"\b{argument}\b", received)
        for name, make in _accepted().items():
            call = partial(_beside_copy, operation, make)
            yield answered(f"{name} to {operation}", "arrays", call, _same_as_copy)
    for operation in ("log_prob", "encode", "decode", "sample", "rsample", "given", "distribution"):
        for name, (make, received) in _refused_contexts().items():
            call = partial(_conditioned, operation, make)
            yield refused(f"{name} as the context of {operation}", "arrays", call, "context", received)
        needless: dict[str, tuple[Any, str]] = {
            "a context": (tensor(4, CONTEXT), r"\(4, 3\)"),
            "a list as context": ([1.0], "list"),
        }
        for name, (context, received) in needless.items():
            call = partial(_call_with_context, plain_flow(), operation, context)
            yield refused(f"{name} without need to {operation}", "arrays", call, "context", received)
    for operation in ("log_prob", "encode", "decode"):
        call = partial(_mismatched, operation)
        yield refused(f"5 rows of context for 4 to {operation}", "arrays", call, "context", r"\(5,")


def read_only_map() -> np.memmap[Any, Any]:
    """Return ordinary rows, float64, mapped read-only from a file that goes with the array."""
    folder = tempfile.TemporaryDirectory(prefix="diffeo-hostile-")
    path = Path(folder.name) / "rows.npy"
    np.save(path, rows())
    mapped = np.load(path, mmap_mode="r")
    weakref.finalize(mapped, folder.cleanup)
    return mapped


def _no_tensors() -> dict[str, Make]:
    import polars as pl

    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [0.0, 1.0]})
    things: dict[str, Any] = {
        "a list": [[1.0, 2.0]],
        "a tuple": (1.0, 2.0),
        "a number": 1.0,
        "None": None,
        "text": "abc",
        "bytes": b"abc",
        "a dict": {"a": 1.0},
        "a date": datetime.date(2020, 1, 1),
        "a numpy array": rows(4).astype(np.float32),
        "an object array": np.array([[object(), None]]),
        "an array of text": np.array([["a", "b"]]),
        "a masked array": np.ma.masked_invalid(rows(4)),
        "a data frame": frame,
        "a foreign data frame": ForeignFrame({"a": rows(4)[:, 0]}),
        "a generator": iter([1.0, 2.0]),
        "a list of tensors": [tensor(1), tensor(1)],
        "a class": Tensor,
    }
    return {name: partial(_itself, thing) for name, thing in things.items()} | {
        "a read-only memory map": read_only_map
    }


def _itself(thing: Any) -> Any:
    return thing


def _refused() -> dict[str, tuple[Make, str]]:
    """Return tensors that are refused, each with what the message must repeat."""
    x = tensor()

    def holds(value: Any) -> Make:
        return partial(_itself, value)

    return {
        "float64": (holds(x.double()), "float64"),
        "float16": (holds(x.half()), "float16"),
        "bfloat16": (holds(x.bfloat16()), "bfloat16"),
        "integers": (holds(x.long()), "int64"),
        "huge integers": (holds(torch.full((4, FEATURES), 2**62)), "int64"),
        "8-bit integers": (holds(x.to(torch.uint8)), "uint8"),
        "booleans": (holds(x > 0), "bool"),
        "complex numbers": (holds(x + 1j), "complex64"),
        "a sparse tensor": (holds(x.to_sparse()), "sparse_coo"),
        "a sparse float64 tensor": (holds(x.double().to_sparse()), "sparse_coo|float64"),
        "a meta tensor": (holds(x.to("meta")), "meta"),
        "0 dimensions": (holds(torch.tensor(1.0)), r"\(\)"),
        "3 features for 2": (holds(tensor(4, 3)), r"\(4, 3\)"),
        "1 feature for 2": (holds(tensor(4, 1)), r"\(4, 1\)"),
        "0 features": (holds(tensor(4, 2)[:, :0]), r"\(4, 0\)"),
        "features before rows": (holds(tensor(5, 2).T), r"\(2, 5\)"),
        "a vector of 3": (holds(torch.zeros(3)), r"\(3,\)"),
        "an empty tensor": (holds(torch.zeros(0)), r"\(0,\)"),
        "3 dimensions, 3 features": (holds(torch.zeros(4, 2, 3)), r"\(4, 2, 3\)"),
    }


def _accepted() -> dict[str, Make]:
    """Return tensors that are odd, and mean something."""
    x = tensor(8)

    def holds(value: Tensor) -> Make:
        return partial(_itself, value)

    found = {
        "no rows": x[:0],
        "one row": x[:1],
        "a single event": x[0],
        "three batch dimensions": x.reshape(2, 1, 4, 2),
        "a batch of no rows in three dimensions": x[:0].reshape(0, 3, 2),
        "every second row": x[::2],
        "a Fortran-ordered view": x.T.contiguous().T,
        "columns of a wider tensor": tensor(8, 5)[:, 1:3],
        "an expanded row": x[:1].expand(6, 2),
        "an expanded number": torch.zeros(()).expand(3, 2),
        "duplicated rows": x[[0, 0, 0, 1]],
        "constant columns": torch.ones(5, 2),
        "a tensor that requires a gradient": x.clone().requires_grad_(),
        "a result with a history": x.clone().requires_grad_() * 2.0,
        "a Parameter": torch.nn.Parameter(x.clone()),
        "overlapping windows": torch.arange(6.0).as_strided((5, 2), (1, 1)),
        "a tensor on numpy's memory, F-ordered": torch.from_numpy(np.asfortranarray(rows(6), dtype="f4")),
        "a transposed batch": x.reshape(2, 4, 2).transpose(0, 1),
        "a lazily negated tensor": torch.complex(x, x).conj().imag,
    }
    return {name: holds(value) for name, value in found.items()}


def _refused_contexts() -> dict[str, tuple[Make, str]]:
    c = tensor(4, CONTEXT)
    found: dict[str, tuple[Any, str]] = {
        "nothing": (None, "missing"),
        "a list": ([[1.0, 2.0, 3.0]], "list"),
        "a number": (1.0, "float"),
        "a numpy array": (c.numpy(), "ndarray"),
        "text": ("abc", "str"),
        "float64": (c.double(), "float64"),
        "integers": (c.long(), "int64"),
        "a meta tensor": (c.to("meta"), "meta"),
        "a sparse tensor": (c.to_sparse(), "sparse_coo"),
        "0 dimensions": (torch.tensor(1.0), r"\(\)"),
        "2 features for 3": (c[:, :2], r"\(4, 2\)"),
        "a vector of 4": (torch.zeros(4), r"\(4,\)"),
    }
    return {name: (partial(_itself, value), received) for name, (value, received) in found.items()}


def _given(operation: str, make: Make) -> Any:
    return getattr(plain_flow(), operation)(make())


def _beside_copy(operation: str, make: Make) -> tuple[Tensor, Tensor, Tensor]:
    value = make()
    method = getattr(plain_flow(), operation)
    return value, method(value), method(value.detach().clone(memory_format=torch.contiguous_format))


def _same_as_copy(found: tuple[Tensor, Tensor, Tensor]) -> str:
    value, odd, plain = found
    if odd.shape[: value.ndim - 1] != value.shape[:-1]:
        return f"shape {tuple(odd.shape)} for {tuple(value.shape)}"
    if not bool(odd.isfinite().all()):
        return "not finite"
    return "" if torch.equal(odd, plain) else "not what a copy gives"


def _conditioned(operation: str, make: Make) -> Any:
    return _call_with_context(conditional_flow(), operation, make())


def _mismatched(operation: str) -> Any:
    return getattr(conditional_flow(), operation)(tensor(4), tensor(5, CONTEXT))


def _call_with_context(flow: Any, operation: str, context: Any) -> Any:
    method = getattr(flow, operation)
    if operation in ("given", "distribution"):
        return method(context)
    if operation in ("sample", "rsample"):
        return method((2,), context)
    return method(tensor(), context)
