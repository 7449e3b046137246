"""Write the golden files of this version: small models, and the densities that they must give for ever.

    python scripts/make_golden.py

Each recipe becomes ``tests/golden/<version>/<name>.safetensors`` and ``<name>.json``. A file that is there
is never written again: what a released version wrote is what every later one has to read. A new kind of
part gets a new recipe.

Numbers are recorded as the loaded model gives them in float64, so that they hold on every machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn
from torch import distributions as td

import diffeo
from diffeo.bijections import (
    ActNorm,
    Affine,
    BatchNorm,
    Chain,
    Coupling,
    Identity,
    Inverse,
    Log,
    Logit,
    Mask,
    Permutation,
    Scale,
    Standardize,
    Whiten,
)
from diffeo.conditioners import MLP, ResidualMLP
from diffeo.distributions import DiagonalNormal, StandardNormal, Uniform, Wrapped
from diffeo.files import save
from diffeo.flows import NICE, Flow, RealNVP
from diffeo.laws import Additive, RationalQuadratic
from diffeo.laws import Affine as AffineLaw
from diffeo.tables import Architecture, TableModel, fit_table

ROWS = 6
FOLDER = Path(__file__).parent.parent / "tests" / "golden"


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ready(flow: Flow, x: Tensor, context: Tensor | None = None) -> Flow:
    """Return the flow initialised on ``x``, every parameter moved off its start."""
    flow.to(x.dtype).initialise(x, context)
    with torch.no_grad():
        for number, parameter in enumerate(flow.parameters()):
            parameter += 0.4 * normal(*parameter.shape, seed=number).to(parameter.dtype)
    return flow.eval()


def nice() -> tuple[nn.Module, Tensor, Tensor | None]:
    """Return NICE as published, on three features."""
    x = normal(40, 3).float()
    return ready(NICE(3, hidden=(8,)), x), x, None


def real_nvp() -> tuple[nn.Module, Tensor, Tensor | None]:
    """Return Real NVP with a context, in the units of its data."""
    x, context = (1e3 + 50 * normal(40, 4)).float(), normal(40, 2, seed=1).float()
    flow = RealNVP(4, context=2, couplings=3, hidden=(8,)).then(Standardize(4))
    return ready(flow, x, context), x, context


def vectors() -> tuple[nn.Module, Tensor, Tensor | None]:
    """Return a flow with each bijection of vectors and each conditioner, in float64."""
    x = normal(40, 3).cumsum(-1).exp() + 0.5
    given = Mask.given([True, False, True])
    network = ResidualMLP(2, 1, n_params=2, width=6, blocks=1, activation="tanh")
    halves = Mask.halves(3, flip=True)
    mlp = MLP(halves.n_passed, halves.n_moved, n_params=1, hidden=(6,), activation="gelu")
    layers = Chain(
        Identity(),
        Inverse(Scale(3)),
        Affine(3, bound=4.0),
        Chain(Permutation([2, 0, 1]), ActNorm(3)),
        Coupling(AffineLaw(bound=1.5), network, given),
        Coupling(Additive(), mlp, halves),
        BatchNorm(3, momentum=0.2, eps=1e-4),
        Whiten(3),
        Whiten(3, "cholesky", floor=1e-8),
        Standardize(3, "moments"),
        Log(shift=0.25),
    )
    return ready(Flow(DiagonalNormal(3), layers), x), x, None


def images() -> tuple[nn.Module, Tensor, Tensor | None]:
    """Return a flow of small images, in a box."""
    x = normal(40, 2, 2, 3).sigmoid().float()
    layers: list[Any] = []
    for mask in (Mask.checkerboard((2, 2, 3)), Mask.channelwise((2, 2, 3), flip=True)):
        network = MLP(mask.n_passed, mask.n_moved, n_params=2, hidden=(6,))
        layers += [Coupling(AffineLaw(), network, mask), ActNorm((2, 2, 3))]
    return (
        ready(Flow(StandardNormal((2, 2, 3)), Chain(*layers, Logit(alpha=0.05, event_ndim=3))), x),
        x,
        None,
    )


def wrapped() -> tuple[nn.Module, Tensor, Tensor | None]:
    """Return a flow on a mixture of torch's normals."""
    x = normal(40, 2)
    centres = td.Independent(td.Normal(normal(3, 2, seed=1), 0.7), 1)
    base = Wrapped(td.MixtureSameFamily(td.Categorical(torch.tensor([0.2, 0.3, 0.5])), centres))
    return ready(Flow(base, Affine(2)), x), x, None


def box() -> tuple[nn.Module, Tensor, Tensor | None]:
    """Return a flow on a uniform base."""
    x = 0.4 * normal(40, 2).tanh()
    return ready(Flow(Uniform(2, low=-3.0, high=3.0), Scale(2)), x), x, None


def splines() -> tuple[nn.Module, Tensor, Tensor | None]:
    """Return a flow of rational-quadratic couplings, with both kinds of tails."""
    x = normal(40, 3).float()
    layers: list[Any] = []
    for k, law in enumerate((RationalQuadratic(), RationalQuadratic(5, 2.0, "linear", min_bin=0.01))):
        mask = Mask.halves(3, flip=k == 1)
        network = MLP(mask.n_passed, mask.n_moved, n_params=law.n_params, hidden=(6,))
        layers.append(Coupling(law, network, mask))
    return ready(Flow(StandardNormal(3), Chain(*layers)), x), x, None


def table() -> tuple[nn.Module, Tensor, Tensor | None]:
    """Return the model of a table, fitted for a few steps."""
    rows = normal(60, 3).cumsum(-1) * torch.tensor([1.0, 1e3, 1e-4], dtype=torch.float64) + 5.0
    frame = pl.DataFrame(rows.numpy(), schema=["width (m)", "größe", "c"])
    config = diffeo.tables.table_training(max_steps=20, seed=1)
    small = Architecture(couplings=2, hidden=(6,))
    model, _ = fit_table(frame, architecture=small, config=config, progress=False)
    return model, rows, None


RECIPES: dict[str, Callable[[], tuple[nn.Module, Tensor, Tensor | None]]] = {
    "nice": nice,
    "real_nvp": real_nvp,
    "vectors": vectors,
    "images": images,
    "wrapped": wrapped,
    "box": box,
    "splines": splines,
    "table": table,
}


@torch.no_grad()
def recorded(path: Path, x: Tensor, context: Tensor | None) -> dict[str, Any]:
    """Return what the model in ``path`` gives for the first rows, in float64."""
    model = diffeo.load(path)
    flow = model.as_flow() if isinstance(model, TableModel) else model.double()
    x, given = x[:ROWS].double(), None if context is None else context[:ROWS].double()
    z = flow.encode(x, given)
    record = {"x": x, "context": given, "log_prob": flow.log_prob(x, given), "z": z}
    numbers = {name: None if value is None else value.tolist() for name, value in record.items()}
    return {"version": diffeo.__version__, **numbers, "decoded": flow.decode(z, given).tolist()}


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
