"""Training states whose digest is right and whose content is not: what a resumed run must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffeo.files import container
from diffeo.objectives import MaximumLikelihood
from diffeo.testing.malicious import model_bytes, packed, small_flow
from diffeo.training import TrainConfig, checkpoint
from diffeo.training.optimisation import Tensors, weights_of
from diffeo.training.split import Rows
from diffeo.training.state import State


def _belongs_to() -> dict[str, Any]:
    rows = Rows(torch.zeros(4, 3), None, torch.arange(4))
    return checkpoint.identity(small_flow(), MaximumLikelihood(), rows, None, TrainConfig())


def read_state(path: Path) -> State | None:
    """Read a training state as a run that resumes does: of :func:`small_flow`, on four rows."""
    return checkpoint.load(path, _belongs_to(), torch.device("cpu"))


def malicious_states(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write the files into ``folder`` one by one; yield what each is, and its path.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(list(malicious_states(Path(folder)))) > 15
    True
    """
    path = folder / "state-0.safetensors"
    checkpoint.save(path, State(Tensors(weights_of(small_flow()), {}, {})), _belongs_to())
    whole = path.read_bytes()
    about, _ = container.read_header(path)
    tensors = container.read_tensors(path, about)
    about = {key: value for key, value in about.items() if key != "digest"}
    for number, (name, content) in enumerate(_contents(about, tensors, whole).items()):
        path = folder / f"state-{number}.safetensors"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            container.write(path, *content)
        yield f"state: {name}", path


def _contents(about: dict[str, Any], tensors: dict[str, Tensor], whole: bytes) -> dict[str, Any]:
    def training(**changes: Any) -> Any:
        return tensors, {**about, "training": {**about["training"], **changes}}

    without = {key: value for key, value in about["training"].items() if key != "step"}
    return {
        "cut": whole[: len(whole) // 2],
        "a bit of it": whole[:-1] + bytes([whole[-1] ^ 1]),
        "a model": model_bytes(),
        "no JSON": packed({"__metadata__": {"diffeo": "state"}}),
        "newer": (tensors, {**about, "format": 2}),
        "a format of text": (tensors, {**about, "format": "1"}),
        "training a list": (tensors, {**about, "training": []}),
        "training a text": (tensors, {**about, "training": "os.system"}),
        "without a step": (tensors, {**about, "training": without}),
        "with more": training(more=1),
        "a history of numbers": training(history=[1, 2]),
        "a history of unknown fields": training(history=[{"__class__": "os.system"}]),
        "a history that is none": training(history=5),
        "events of text": training(events="os.system"),
        "belonging to nothing": (tensors, {**about, "belongs_to": None}),
        "belonging to a list": (tensors, {**about, "belongs_to": []}),
        "with settings of text": (tensors, {**about, "belongs_to": {**about["belongs_to"], "config": "a"}}),
        "a tensor of no group": ({**tensors, "os:system": torch.zeros(1)}, about),
        "a tensor of no name": ({**tensors, "": torch.zeros(1)}, about),
    }
