"""Whatever holds numbers, as a float64 array; and a clear word about what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.errors import DataError


def as_numbers(argument: str, data: Any) -> NDArray[np.float64]:
    """Return ``data`` (a tensor, an array, nested lists) as a float64 array; None among numbers is NaN.

    Raises:
        DataError: it holds text, dates, complex numbers, a mask, or nothing that is an array.

    >>> as_numbers("x", [[1, 2], [3, None]])
    array([[ 1.,  2.],
           [ 3., nan]])
    """
    if isinstance(data, Tensor):
        if data.layout != torch.strided or data.device.type == "meta" or data.is_complex():
            raise _no_numbers(argument, f"a tensor of {data.layout}, {data.dtype}, on {data.device}")
        return data.detach().cpu().double().numpy()
    if isinstance(data, np.ma.MaskedArray):
        raise _no_numbers(argument, "a masked array, whose mask would be lost")
    try:
        array: NDArray[Any] = np.asarray(data)
        if array.dtype.kind == "O" and array.ndim:
            array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(argument, f"a {type(data).__name__} that is no array of numbers") from error
    if array.dtype.kind not in "fiub":
        found = f"of dtype {array.dtype}" if array.ndim else f"a {type(data).__name__}"
        raise _no_numbers(argument, found)
    with np.errstate(over="ignore"):
        return array.astype(np.float64, copy=False)


def _no_numbers(argument: str, found: str) -> DataError:
    return DataError(
        f"{argument} is {found}; expected real numbers, as an array (rows, columns): pass "
        f"numpy.asarray({argument}, dtype=float) if they are."
    )
