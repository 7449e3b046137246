"""Saving and loading models made of registered parts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from diffeo._version import __version__
from diffeo.errors import ConfigError, FileError
from diffeo.files import container
from diffeo.registry import from_spec, register_own, to_spec

#: Version of the format; a file with a higher one was written by a newer diffeo.
FORMAT = 1


def save(model: nn.Module, path: str | PathLike[str], extra: dict[str, Any] | None = None) -> None:
    """Write ``model`` (any composition of registered parts) and JSON data ``extra`` to ``path``.

    Raises:
        ConfigError: a part is not registered, or ``extra`` is not plain JSON.
        FileError: the file cannot be written; what was there before is untouched.
    """
    try:
        plain = json.loads(json.dumps(extra or {}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra must be plain JSON data: {error}.") from error
    about = {
        "format": FORMAT,
        "version": __version__,
        "model": to_spec(model),
        "extra": plain,
    }
    container.write(path, model.state_dict(), about)


def describe_file(path: str | PathLike[str]) -> dict[str, Any]:
    """Return what a file says of itself, without building the model.

    Keys: ``format``, ``version``, ``model`` (the description of the parts), ``extra``, ``digest`` and
    ``tensors`` (each one's shape).
    """
    about, shapes = container.read_header(path)
    return {**_checked(about, path), "tensors": {name: list(shapes[name]) for name in shapes}}


def load(path: str | PathLike[str], device: torch.device | str | None = None) -> Any:
    """Build the model that :func:`save` wrote, in evaluation mode.

    Nothing is unpickled, imported or executed by name: a file can only name registered parts. The
    description is first built without memory (on torch's meta device, within a budget that follows from
    the file's size), so that a file that declares absurd sizes is refused before anything is allocated.

    Raises:
        FileError: the file is missing, cut short, foreign, changed since it was written, or newer than
            this library.
        UnknownKindError: it names a part that is not registered in this process.
    """
    about, shapes = container.read_header(path)
    spec = _checked(about, path)["model"]
    register_own()
    _check_numbers(spec, max(2**20, os.stat(path).st_size), path)
    with torch.device("meta"), _Budget(path, shapes):
        skeleton = _build(spec, path)
    wanted = {name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()}
    if wanted != shapes:
        odd = sorted(set(wanted.items()) ^ set(shapes.items()))
        raise FileError(
            f"{str(path)!r} does not hold the tensors that its description asks for; "
            f"the first that differs is {odd[0][0]!r}."
        )
    tensors = container.read_tensors(path, about)
    with _Uninitialised():
        model = _build(spec, path)
    model.load_state_dict(tensors, assign=True)
    dtypes = {t.dtype for t in tensors.values() if t.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtypes.pop())
    return model.to(device).eval() if device is not None else model.eval()


def _checked(about: dict[str, Any], path: Any) -> dict[str, Any]:
    version = about.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise FileError(f"{str(path)!r} is not a diffeo model file: it states no format version.")
    if version > FORMAT:
        raise FileError(
            f"{str(path)!r} has format {version}, written by diffeo {about.get('version')}; this is "
            f"diffeo {__version__}, which reads formats up to {FORMAT}. Upgrade diffeo to read it."
        )
    if "model" not in about:
        raise FileError(f"{str(path)!r} holds no model (a training checkpoint, perhaps).")
    return about


def _check_numbers(spec: Any, largest: int, path: Any) -> None:
    """Refuse whole numbers larger than the file is long: no size or count in it can be."""
    pending = [spec]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, int) and abs(item) > largest:
            raise FileError(
                f"{str(path)!r} declares a size of {item}, larger than the file itself; it was refused "
                "before anything was allocated."
            )


def _build(spec: Any, path: Any) -> nn.Module:
    try:
        model = from_spec(spec)
    except (FileError, RecursionError, RuntimeError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{str(path)!r} describes a model that cannot be built: {error}.") from error
    if not isinstance(model, nn.Module):
        raise FileError(f"{str(path)!r} describes no model: {str(spec)[:60]!r}.")
    return model


class _Budget(TorchFunctionMode):
    """Refuses a description that makes far more, or far larger, tensors than its file holds."""

    def __init__(self, path: Any, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        self._path, self._calls = path, 0
        self._most_calls = 5_000 + 200 * len(shapes)
        largest = max((torch.Size(shape).numel() for shape in shapes.values()), default=0)
        self._most_elements = 100_000 + 16 * largest

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # On the meta device nothing is allocated, however large the result is declared.
        self._calls += 1
        result = func(*args, **(kwargs or {}))
        too_large = isinstance(result, Tensor) and result.numel() > self._most_elements
        if too_large or self._calls > self._most_calls:
            self._refuse()
        return result

    def _refuse(self) -> None:
        raise FileError(
            f"{str(self._path)!r} declares a model far larger than the file itself; it was refused "
            "before anything was allocated."
        )


class _Uninitialised(TorchFunctionMode):
    """Leaves out random initialisation, which the file's tensors replace: no random state is touched."""

    _SKIPPED = frozenset({"uniform_", "normal_", "kaiming_uniform_", "xavier_uniform_", "trunc_normal_"})

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in self._SKIPPED:
            return args[0] if args else (kwargs or {}).get("tensor")
        return func(*args, **(kwargs or {}))
