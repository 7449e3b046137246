"""Saving and loading models made of registered parts."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from diffeo._version import __version__
from diffeo.errors import ConfigError, FileError, UnknownKindError, UserError, a_path
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
    a_path("path", path)
    try:
        plain = json.loads(json.dumps(extra or {}, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"extra must be plain JSON data: {error}.") from error
    about = {"format": FORMAT, "version": __version__, "extra": plain}
    try:
        container.write(path, model.state_dict(), {**about, "model": to_spec(model)})
    except RecursionError as error:
        raise ConfigError(
            f"this {type(model).__name__} is nested too deeply for a file; compose its parts in one Chain."
        ) from error


def describe_file(path: str | PathLike[str]) -> dict[str, Any]:
    """Return what a file says of itself, without building the model.

    Keys: ``format``, ``version``, ``model`` (the description of the parts), ``extra``, ``digest`` and
    ``tensors`` (each one's shape).
    """
    a_path("path", path)
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
    a_path("path", path)
    _check_device(device)
    with container.opened(path) as file:
        about, shapes = container.header_of(file)
        spec = _checked(about, path)["model"]
        register_own()
        _check_numbers(spec, max(2**20, os.stat(path).st_size), path)
        try:
            with torch.device("meta"), _Budget(path, shapes):
                skeleton = _build(spec, path).state_dict()
            if {name: tuple(tensor.shape) for name, tensor in skeleton.items()} != shapes:
                raise _other_tensors(skeleton, shapes, path)
            tensors = container.tensors_of(file, about)
            for name, tensor in tensors.items():
                _check_dtype(name, tensor, skeleton[name], path)
            with _Uninitialised():
                model = _build(spec, path)
            model.load_state_dict(tensors, assign=True)
        except RecursionError as error:
            raise FileError(
                f"{str(path)!r} describes a model that is nested too deeply to be built."
            ) from error
    dtypes = {t.dtype for t in tensors.values() if t.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtypes.pop())
    return model.to(device).eval() if device is not None else model.eval()


def _check_device(device: torch.device | str | None) -> None:
    """Raise :class:`ConfigError` unless numbers can be held there."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ConfigError(
            f"device={device!r} cannot be used here ({str(error).splitlines()[0][:80]}); expected "
            "cpu, cuda or another device of this torch."
        ) from error


def _other_tensors(wanted: dict[str, Tensor], shapes: dict[str, tuple[int, ...]], path: Any) -> FileError:
    asked = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    name = min(name for name, _ in set(asked.items()) ^ set(shapes.items()))
    return FileError(
        f"{str(path)!r} does not hold the tensors that its description asks for: the first that differs is "
        f"{name!r:.80}, of shape {asked.get(name, 'none')} there, {shapes.get(name, 'none')} in the file. "
        "It was not written by diffeo, or by a class of yours that has changed since."
    )


def _check_dtype(name: str, tensor: Tensor, wanted: Tensor, path: Any) -> None:
    """Let a floating tensor have any floating dtype, as after flow.double(); others must keep theirs."""
    if tensor.dtype != wanted.dtype and not (tensor.is_floating_point() and wanted.is_floating_point()):
        raise FileError(
            f"{str(path)!r} holds {name!r} as {tensor.dtype}, its description asks for {wanted.dtype}. "
            "It was not written by diffeo, or by a class of yours that has changed since."
        )


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
    spec = about["model"]
    if not isinstance(spec, dict) or not isinstance(spec.get("args"), dict):
        raise FileError(f"{str(path)!r} is not a diffeo model file: it describes no part with arguments.")
    return about


def _check_numbers(spec: Any, largest: int, path: Any) -> None:
    """Refuse whole numbers larger than the file is long: no size or count in it can be."""
    pending = [spec]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            # A seed is a whole number of any size, and no part makes anything of its size.
            pending.extend(v for k, v in item.items() if k != "seed" or not isinstance(v, int))
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
    except (UnknownKindError, RecursionError):
        raise
    except Exception as error:  # a constructor that is given anything at all may fail in any way
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise FileError(
            f"{str(path)!r} describes a model that cannot be built: {reason:.500}. It was not written by "
            "diffeo, or by a class of yours that has changed since."
        ) from error
    if not isinstance(model, nn.Module):
        raise FileError(f"{str(path)!r} describes a {type(model).__name__}, which is no model.")
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
        if _on_cpu((args, kwargs)):
            # A description may hold numbers of its own (Wrapped): what is made of them is tried without
            # memory first. What depends on values cannot be, and is left to them.
            with contextlib.suppress(RuntimeError):
                self._check(func(*_on_meta(args), **_on_meta(kwargs or {})))
        result = func(*args, **(kwargs or {}))
        self._check(result)
        return result

    def _check(self, result: Any) -> None:
        too_large = isinstance(result, Tensor) and result.numel() > self._most_elements
        if too_large or self._calls > self._most_calls:
            raise FileError(
                f"{str(self._path)!r} declares a model far larger than the file itself; it was refused "
                "before anything was allocated."
            )


def _on_cpu(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_on_cpu(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_on_cpu(item) for item in value)
    return isinstance(value, Tensor) and value.device.type != "meta"


def _on_meta(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _on_meta(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(_on_meta(item) for item in value)
    return value.to("meta") if isinstance(value, Tensor) else value


class _Uninitialised(TorchFunctionMode):
    """Leaves out random initialisation, which the file's tensors replace: no random state is touched."""

    _SKIPPED = frozenset({"uniform_", "normal_", "kaiming_uniform_", "xavier_uniform_", "trunc_normal_"})

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in self._SKIPPED:
            return args[0] if args else (kwargs or {}).get("tensor")
        return func(*args, **(kwargs or {}))
