"""Write the golden files of this version: small models, and the densities that they must give for ever.

    python scripts/make_golden.py

Each recipe of ``golden/`` becomes ``tests/golden/<version>/<name>.safetensors`` and ``<name>.json``. A file
that is there is never written again: what a released version wrote is what every later one has to read. A
new kind of part gets a new recipe.

Numbers are recorded as the loaded model gives them in float64, so that they hold on every machine.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import diffeo
from diffeo.estimator import Members, Stored
from diffeo.files import save
from diffeo.friends import GAN, VAE
from diffeo.friends.friend import Friend
from diffeo.tables import Encoded, MixedDensity
from golden import RECIPES

ROWS = 6
FOLDER = Path(__file__).parent.parent / "tests" / "golden"


class Answers:
    """What a mixture of flows says, as a flow would say it: its density, and its first flow's noise."""

    def __init__(self, members: Members) -> None:
        self.members = members

    def log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return log p of the mixture."""
        return torch.from_numpy(self.members.log_prob(x.numpy(), context))

    def encode(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the first flow's noise."""
        return torch.from_numpy(self.members.encode(0, x.numpy(), context))

    def decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Return the way back."""
        return torch.from_numpy(self.members.decode(0, z.numpy(), context))


@torch.no_grad()
def recorded(path: Path, x: Tensor, context: Tensor | None) -> dict[str, Any]:
    """Return what the model in ``path`` gives for the first rows, in float64."""
    model = diffeo.load(path)
    model = model.members if isinstance(model, Stored) else model
    if isinstance(model, MixedDensity):
        return recorded_table(model, x, context)
    if isinstance(model, Friend):
        return recorded_friend(model, x[:ROWS].double())
    flow: Any = model.double().as_flow() if hasattr(model, "as_flow") else model.double()
    flow = Answers(flow) if isinstance(flow, Members) else flow
    x, given = x[:ROWS].double(), None if context is None else context[:ROWS].double()
    z = flow.encode(x, given)
    record = {"x": x, "context": given, "log_prob": flow.log_prob(x, given), "z": z}
    numbers = {name: None if value is None else value.tolist() for name, value in record.items()}
    return {"version": diffeo.__version__, **numbers, "decoded": flow.decode(z, given).tolist()}


def recorded_table(model: MixedDensity, state: Tensor, value: Tensor | None) -> dict[str, Any]:
    """Return what a density of mixed columns gives for the first rows, and for one that is impossible."""
    assert value is not None
    state, value = state[:ROWS].long(), value[:ROWS]
    state[-1, 0] = -1
    log_p = model.log_prob(Encoded(state.numpy(), value.numpy()))
    values = [[None if math.isnan(v) else v for v in row] for row in value.tolist()]
    return {
        "version": diffeo.__version__,
        "state": state.tolist(),
        "value": values,
        "log_prob": [p if math.isfinite(p) else None for p in log_p.tolist()],
    }


def recorded_friend(model: Any, x: Tensor) -> dict[str, Any]:
    """Return what a friend says of the first rows."""
    record: dict[str, Any] = {"version": diffeo.__version__, "x": x.tolist()}
    if isinstance(model, VAE):
        z = model.encode(x)
        return {**record, "z": z.tolist(), "decoded": model.decode(z).tolist()}
    if isinstance(model, GAN):
        z = torch.linspace(-1, 1, ROWS * model.latent).reshape(ROWS, -1)
        judged = model.criticise(x).tolist()
        return {**record, "judged": judged, "z": z.tolist(), "decoded": model.generate(z).tolist()}
    return {**record, "log_prob": model.log_prob(x).tolist()}


def main() -> int:
    """Write what is not there yet."""
    folder = FOLDER / diffeo.__version__
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, recipe in RECIPES.items():
        path, numbers = folder / f"{name}.safetensors", folder / f"{name}.json"
        if path.exists() or numbers.exists():
            print(f"{path} is there, and stays as it is.")
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, x, context = recipe()
        save(model, path, extra={"recipe": name})
        numbers.write_text(
            json.dumps(recorded(path, x, context), indent=1, allow_nan=False) + "\n", "utf-8"
        )
        print(f"{path}: {path.stat().st_size} bytes")
        written += 1
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
