"""Training states on disk: one safetensors file that is whole at every moment, and holds no code."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffeo._version import __version__
from diffeo.errors import ConfigError, FileError
from diffeo.files import container
from diffeo.flows import Flow
from diffeo.objectives import Objective
from diffeo.registry import to_spec
from diffeo.training.config import TrainConfig
from diffeo.training.optimisation import Tensors, weights_of
from diffeo.training.result import BadStep, Evaluation
from diffeo.training.split import Rows
from diffeo.training.state import State

FORMAT = 1

#: Settings that a resumed run may change: they do not move a single bit of the weights.
_FREE = ("checkpoint_every", "device")


def identity(
    flow: Flow, objective: Objective, train: Rows, held: Rows | None, config: TrainConfig
) -> dict[str, Any]:
    """Return what a checkpoint belongs to: the model, the objective, the rows, and the settings."""
    try:
        spec: Any = to_spec(flow)
    except ConfigError:  # made of parts that are not registered: their tensors have to do
        spec = type(flow).__qualname__
    shapes = {name: [str(p.dtype), list(p.shape)] for name, p in flow.state_dict().items()}
    trainable = [name for name, p in flow.named_parameters() if p.requires_grad]
    settings = dataclasses.asdict(config)
    return {
        "flow": _digest_json([spec, shapes, trainable]),
        "objective": f"{type(objective).__qualname__}: {objective!r}"
        if dataclasses.is_dataclass(objective)
        else type(objective).__qualname__,
        "x": _digest_rows(train),
        "validation": _digest_rows(held),
        "config": {name: value for name, value in settings.items() if name not in _FREE},
    }


def _digest_json(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _digest_rows(rows: Rows | None) -> str:
    digest = hashlib.blake2b(digest_size=32)
    for tensor in (None, None) if rows is None else (rows.x, rows.context):
        digest.update(repr(None if tensor is None else (str(tensor.dtype), tuple(tensor.shape))).encode())
        if tensor is not None:
            # Viewed, not copied: a large table is read once and not held twice.
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save(path: Path, state: State, belongs_to: dict[str, Any]) -> None:
    """Write ``state``; a crash at any moment leaves the file before or this one.

    Raises:
        FileError: it could not be written; what was there before is untouched.
    """
    groups = {
        "weights": state.tensors.weights,
        "optimizer": state.tensors.optimizer,
        "average": state.tensors.average,
        "best": state.best,
    }
    tensors = {f"{group}:{name}": t for group, part in groups.items() for name, t in part.items()}
    plain = {
        f.name: _plain(getattr(state, f.name))
        for f in dataclasses.fields(State)
        if f.name not in ("tensors", "best")
    }
    about = {"format": FORMAT, "version": __version__, "belongs_to": belongs_to, "training": plain}
    container.write(path, tensors, about)


def load(path: Path, belongs_to: dict[str, Any], device: torch.device) -> State | None:
    """Return the state in ``path``, or None if there is no such file.

    Raises:
        FileError: the file is damaged, no checkpoint, or of another flow, other data or settings.
    """
    _sweep(path)
    if not path.exists():
        return None
    about, _ = container.read_header(path)
    shown = repr(str(path))
    if "training" not in about or "belongs_to" not in about:
        raise FileError(f"checkpoint={shown} is a model file, not a training state; choose another path.")
    if about.get("format") != FORMAT:
        raise FileError(
            f"checkpoint={shown} has format {about.get('format')}, written by diffeo "
            f"{about.get('version')}; this is diffeo {__version__}, which reads format {FORMAT}. "
            "Upgrade diffeo to go on with it, or choose another path to begin anew."
        )
    _check_same(shown, about["belongs_to"], belongs_to)
    try:
        return _state_of(about["training"], container.read_tensors(path, about), device)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            f"checkpoint={shown} is damaged: its training state is not complete ({error!r:.80}). "
            "Choose another path to begin anew."
        ) from error


def check_tensors(path: Path, state: State, flow: Flow) -> None:
    """Raise :class:`FileError` unless a state's tensors are those of ``flow`` and of its optimizer.

    A state that was written for this flow has them; a crafted one may not.
    """
    live = weights_of(flow)
    trained = [p for p in flow.parameters() if p.requires_grad]
    trained.sort(key=lambda p: p.ndim < 2)  # as the optimizer counts them: matrices first
    kinds = {name: (t.shape, t.dtype) for name, t in live.items()}
    moments = {str(k): p.shape for k, p in enumerate(trained)}

    def is_moment(name: str, tensor: Tensor) -> bool:
        number, _, moment = name.partition("/")
        return bool(moment) and number in moments and tensor.shape in (moments[number], torch.Size([]))

    parts = (state.tensors.weights, state.tensors.average, state.best)
    odd = [k for part in parts for k, t in part.items() if kinds.get(k) != (t.shape, t.dtype)]
    odd += [k for k in kinds if k not in state.tensors.weights or (state.best and k not in state.best)]
    odd += [k for k, t in state.tensors.optimizer.items() if not is_moment(k, t)]
    if odd:
        raise FileError(
            f"checkpoint={str(path)!r} does not hold the tensors of this flow; the first that differs is "
            f"{odd[0]!r:.80}. Choose another path to begin anew."
        )


def _state_of(plain: dict[str, Any], tensors: dict[str, Tensor], device: torch.device) -> State:
    # The defaults of a state are for the first one of a run, not for one that lost a field.
    if set(plain) != {f.name for f in dataclasses.fields(State)} - {"tensors", "best"}:
        raise ValueError(f"it has {sorted(plain)!r:.80}")
    groups: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}, "average": {}, "best": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(":")
        groups[group][rest] = tensor.to(device)
    lists = {
        "history": tuple(Evaluation(**_numbers(row)) for row in plain["history"]),
        "events": tuple(BadStep(**row) for row in plain["events"]),
    }
    held = Tensors(groups["weights"], groups["optimizer"], groups["average"])
    return State(tensors=held, best=groups["best"], **_numbers({**plain, **lists}))


def _check_same(shown: str, saved: Any, now: dict[str, Any]) -> None:
    names = {
        "flow": "another flow (its parts, sizes or trainable parameters differ)",
        "objective": "another objective",
        "x": "other training rows",
        "validation": "other held-out rows",
    }
    remedy = "Pass what it was begun with to resume it, or another path to begin anew."
    if not isinstance(saved, dict) or not isinstance(saved.get("config"), dict):
        raise FileError(f"checkpoint={shown} does not say what it belongs to. {remedy}")
    for key, what in names.items():
        if saved.get(key) != now[key]:
            raise FileError(f"checkpoint={shown} belongs to a run with {what}. {remedy}")
    before = saved["config"]
    changed = [
        f"{name}={before.get(name)!r}, now {value!r}"
        for name, value in now["config"].items()
        if before.get(name) != value
    ]
    if changed:
        raise FileError(f"checkpoint={shown} belongs to a run with {'; '.join(changed)}. {remedy}")


def _sweep(path: Path) -> None:
    """Remove what writers that were killed left beside the file."""
    path = Path(os.path.realpath(path))
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        pid = aside.name.removeprefix(f".{path.name}.").removesuffix(".part").partition("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            with contextlib.suppress(OSError):
                aside.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


# JSON has no NaN and no infinity: they are written as words, and read back by float().
def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(dataclasses.asdict(item)) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return repr(value) if value in (float("inf"), float("-inf")) or value != value else value


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    words = {"nan", "inf", "-inf"}
    return {k: float(v) if isinstance(v, str) and v in words else v for k, v in values.items()}
