"""Model files with one bit or their end lost, and files that this diffeo is too old or too bare for."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diffeo._version import __version__
from diffeo.diagnostics.figure import Figure
from diffeo.errors import DiffeoError, FileError, UnknownKindError
from diffeo.files import container, describe_file, load
from diffeo.registry import to_spec
from diffeo.testing.malicious import model_bytes, small_flow
from diffeo.testing.malicious_models import model_about
from diffeo.testing.malicious_states import read_state


def bit_flips(n: int = 1000, seed: int = 0) -> Figure:
    """Flip one random bit of a model file, or cut it, n times; count what loads as another model.

    A digest covers the description and the tensors. What it does not cover is how the JSON is written: a
    flip that changes 1e-05 into 1E-05 says the same, and loads as the same model, bit for bit.

    >>> bit_flips(20).ok
    True
    """
    whole, draw = model_bytes(), random.Random(seed)
    wanted = small_flow()
    failures: list[str] = []
    same = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        for number in range(n):
            what, content = _damaged(whole, draw, cut=number % 10 == 9)
            path.write_bytes(content)
            try:
                found = load(path)
            except FileError:
                continue
            except Exception as error:
                failures.append(f"{what}: {type(error).__name__}: {error!s:.80}")
                continue
            if _same_model(found, wanted):
                same += 1
            else:
                failures.append(f"{what}: loads as another model")
    return Figure(
        "a bit flipped or the end lost",
        worst=float(len(failures)),
        limit=0.0,
        tested=n,
        failed=len(failures),
        detail="; ".join(failures[:3])
        or f"{n - same} refused, {same} written differently but the same model",
        figure="D2",
    )


def _damaged(whole: bytes, draw: random.Random, *, cut: bool) -> tuple[str, bytes]:
    if cut:
        length = draw.randrange(len(whole))
        return f"cut to {length} bytes", whole[:length]
    place, bit = draw.randrange(len(whole)), draw.randrange(8)
    return f"bit {bit} of byte {place}", whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[
        place + 1 :
    ]


def _same_model(found: Any, wanted: Any) -> bool:
    one, other = found.state_dict(), wanted.state_dict()
    return (
        to_spec(found) == to_spec(wanted)
        and list(one) == list(other)
        and all(one[k].dtype == other[k].dtype and torch.equal(one[k], other[k]) for k in one)
    )


def newer_and_unknown() -> Figure:
    """Read files of a newer format, and with kinds that nobody registered; count errors that do not help.

    The message of the one names both versions and says to upgrade, that of the other names the kind and
    says to import the module that registers it.

    >>> newer_and_unknown().ok
    True
    """
    about, tensors = model_about(small_flow())
    newer = {**about, "format": 7, "version": "9.1.0"}
    failures: list[str] = []
    tested = 0

    def expect(
        read: Callable[[Path], Any], content: dict[str, Any], kind: type[DiffeoError], *words: str
    ) -> None:
        nonlocal tested
        tested += 1
        container.write(path, tensors, content)
        message = _message_of(lambda: read(path), kind)
        lacking = [word for word in words if word not in message]
        if lacking:
            failures.append(f"{message!r:.200} does not say {lacking}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        for read in (load, describe_file):
            expect(read, newer, FileError, "9.1.0", __version__, "format 7", "Upgrade diffeo")
        state = {"format": 7, "version": "9.1.0", "belongs_to": {}, "training": {}}
        expect(read_state, state, FileError, "9.1.0", __version__, "format 7", "Upgrade diffeo")
        for name in ("elsewhere.Swap", "bijections.Couplin", "os.system", "flows.Unheard"):
            unknown = {**about, "model": {"kind": name, "args": {}}}
            nested = {**about, "model": {"kind": "flows.Flow", "args": {"base": unknown["model"]}}}
            for content in (unknown, nested):
                expect(load, content, UnknownKindError, repr(name), "import the module that registers it")
        misspelt = {**about, "model": {"kind": "flows.Flwo", "args": {}}}
        expect(load, misspelt, UnknownKindError, "Did you mean 'flows.Flow'?")
    return Figure(
        "newer files and unknown kinds",
        worst=float(len(failures)),
        limit=0.0,
        tested=tested,
        failed=len(failures),
        detail="; ".join(failures[:3]),
        figure="D5",
    )


def _message_of(call: Callable[[], Any], kind: type[DiffeoError]) -> str:
    try:
        call()
    except kind as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__} in place of {kind.__name__}"
    return f"no error in place of {kind.__name__}"
