"""`diffeo demo`: a flow learns p(x) of real data; everything it prints is computed there and then.

The data are nine measurements of the size of cell nuclei in 569 tumours (Wolberg, Street & Mangasarian,
Wisconsin 1995, bundled with scikit-learn): radius, perimeter and area, each as mean, standard error and
worst value. They are positive, skewed, and tied to each other almost exactly.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import typer
from torch import Tensor

from diffeo.bijections import Bijection, Chain, Coupling, Log, Mask, Permutation, Standardize, Whiten
from diffeo.cli.answer import Answer, print_json
from diffeo.cli.demo_report import findings, write_report
from diffeo.cli.demo_text import Competitor, Page, file_table, sample_table, standing, strangest_table
from diffeo.conditioners import MLP
from diffeo.distributions import DiagonalNormal
from diffeo.flows import Flow, RealNVP
from diffeo.laws import Affine
from diffeo.training import TrainConfig, fit

if TYPE_CHECKING:
    from diffeo.friends.units import Array

_SIZE = ("radius", "perimeter", "area")
_COLUMNS = [f"{kind} {what}" if kind != "error" else f"{what} error" for what in _SIZE
            for kind in ("mean", "error", "worst")]  # fmt: skip
_PLANE = ("mean area", "mean fractal dimension")


def run(answer: Answer, *, output: str, seed: int, device: str, time_budget: float | None) -> None:
    """Fit, compare, verify, sample, find the strange rows, save, draw; print it all as it comes."""
    from diffeo.diagnostics import verify

    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    page = Page(answer.as_json)
    x, plane, diagnosis = _data()
    train, test = _split(len(x), seed)
    page.section(
        "What is the probability density of tumours?",
        f"{len(x)} tumours, {x.shape[1]} measurements of their cell nuclei ({', '.join(_SIZE)}: "
        f"mean, error and worst).\n{len(train)} rows train; {len(test)} test rows take no part in any "
        "choice.",
    )
    began = time.perf_counter()
    flow, result = fit_sizes(x[train], seed=seed, device=device, time_budget=time_budget)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        scores = flow.log_prob(x[test].float()).double().numpy()
    weights = sum(p.numel() for p in flow.parameters())
    ours = Competitor(
        "normalizing flow", "logarithms", f"{weights} weights, {result.steps} steps", scores, seconds
    )
    rivals = [_rival(*rival, x[train].numpy(), x[test].numpy()) for rival in _friends(seed)]
    table, verdict, wins = standing(ours, rivals)
    page.section("Held-out log-likelihood (the higher the better)", table, verdict)

    report = verify(flow, x[test][:64].float())
    page.section("Is it a normalizing flow? diffeo.verify says", str(report))

    model = _as_table(flow)
    samples = model.sample(1000, seed=seed)
    page.section(
        "Samples: 1,000 tumours that nobody had", sample_table(samples.to_numpy(), x.numpy(), _COLUMNS)
    )
    log_p = model.score(x.numpy())
    strangest = [int(row) for row in np.argsort(log_p)[:5]]
    page.section(
        "The five least likely rows", strangest_table(strangest, log_p, x.numpy(), diagnosis, _COLUMNS)
    )
    files = {"model": folder / "model.safetensors", "data": folder / "data.csv",
             "samples": folder / "samples.csv", "picture": folder / "moulding.png"}  # fmt: skip
    model.save(files["model"], {"held_out_log_prob": float(scores.mean()), "seed": seed})
    _frame(x).write_csv(files["data"])
    samples.write_csv(files["samples"])
    _draw(plane, files["picture"], seed=seed, device=device, time_budget=time_budget)
    files["report"] = folder / "report.html"
    reported = write_report(files["report"], seed=seed, time_budget=time_budget)
    page.section("A report of another table: 442 people with diabetes, by sex", findings(reported))
    page.section(
        "Written",
        file_table(files),
        f"The picture shows a flow of two columns moulding noise into data. Score rows with the model:\n"
        f"{_command()} score {files['model']} {files['data']} -o scores.csv",
    )
    if answer.as_json:
        print_json(
            {
                "rows": len(x),
                "test_rows": len(test),
                "columns": _COLUMNS,
                "held_out_log_prob": {
                    f"{c.name} of {c.of}": float(c.log_prob.mean()) for c in (ours, *rivals)
                },
                "flow_wins": wins,
                "verified": report.ok,
                "report": reported.in_words().split("\n"),
                "least_likely_rows": [row + 1 for row in strangest],
                "files": {name: str(path) for name, path in files.items()},
                "warnings": answer.warnings,
            }
        )
    if not report.ok:
        raise typer.Exit(1)


def _command() -> str:
    """Return how this command line was called, so that it can be called again."""
    return sys.argv[0] if Path(sys.argv[0]).name == "diffeo" else "diffeo"


def fit_sizes(x: Tensor, *, seed: int, device: str, time_budget: float | None) -> tuple[Flow, Any]:
    """Fit the density of the nine positive columns: logarithms, whitening, then affine couplings.

    The chain starts as the Gaussian of the logarithms; eight couplings learn what that misses. With a
    few hundred rows the enemy is over-fitting: dropout, decay, noise, a mean of the weights, and early
    stopping on a tenth of the training rows hold it off.
    """
    features = x.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        core = Flow(DiagonalNormal(features), Chain(*_couplings(features, seed)))
    to_logs = Chain(Whiten(features, "cholesky"), Standardize(features, "moments"), Log()).double()
    to_logs.initialise(x.double())
    with torch.no_grad():
        z = to_logs.inverse(x.double())[0].float()
    config = TrainConfig(
        max_epochs=250,
        batch_size=64,
        learning_rate=1e-3,
        weight_decay=0.3,
        clip_norm=1.0,
        noise=0.2,
        averaging=0.99,
        evaluate_every=6,
        patience=60,
        seed=seed,
        device=device,
        time_budget=time_budget,
    )
    result = fit(core, z, validation=0.1, config=config)
    return core.cpu().then(to_logs.float()), result


def _couplings(features: int, seed: int) -> list[Bijection]:
    law = Affine(bound=1.0)
    layers: list[Bijection] = []
    for pair in range(4):
        layers.append(Permutation.random(features, seed=seed + pair))
        for flip in (False, True):
            mask = Mask.halves(features, flip)
            net = MLP(mask.n_passed, mask.n_moved, law.n_params, hidden=(64, 64), dropout=0.3)
            layers.append(Coupling(law, net, mask))
    return layers


def _data() -> tuple[Tensor, Tensor, list[str]]:
    """Return the nine columns, the two of the picture (float64), and the diagnoses."""
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer()
    names = [str(name) for name in bunch.feature_names]
    rows = torch.from_numpy(bunch.data)
    diagnosis = [str(bunch.target_names[k]) for k in bunch.target]
    chosen = rows[:, [names.index(name) for name in _COLUMNS]]
    return chosen, rows[:, [names.index(name) for name in _PLANE]], diagnosis


def _split(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the training rows and the 30 % of test rows, which take no part in any choice."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held = round(0.3 * count)
    return order[held:], order[:held]


def _friends(seed: int) -> list[tuple[Any, bool]]:
    """Return the rivals: each for the values and, as the flow sees them, for their logarithms."""
    from diffeo.friends import Gaussian, GaussianMixture, KernelDensity

    makers = (Gaussian, lambda: GaussianMixture(seed=seed), KernelDensity)
    return [(make(), logs) for logs in (False, True) for make in makers]


def _rival(friend: Any, logs: bool, train: Array, test: Array) -> Competitor:
    began = time.perf_counter()
    if logs:
        # log p(x) = log p(log x) − Σ log x
        log_prob = friend.fit(np.log(train)).log_prob(np.log(test)) - np.log(test).sum(1)
    else:
        log_prob = friend.fit(train).log_prob(test)
    of = "logarithms" if logs else "values"
    return Competitor(friend.name, of, friend.describe(), log_prob, time.perf_counter() - began)


def _as_table(flow: Flow) -> Any:
    from diffeo.tables import NumericColumn, NumericSchema, TableModel

    return TableModel(NumericSchema(tuple(NumericColumn(name) for name in _COLUMNS)), flow).eval()


def _frame(x: Tensor) -> Any:
    import polars as pl

    return pl.DataFrame(dict(zip(_COLUMNS, x.numpy().T, strict=True)))


def _draw(plane: Tensor, path: Path, *, seed: int, device: str, time_budget: float | None) -> None:
    """Fit a flow of two columns, for the eye, and draw how it moulds noise into them."""
    from diffeo.diagnostics.moulding import moulding

    x = plane.float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = RealNVP(2, couplings=8, hidden=(32, 32), activation="silu", batch_norm=False)
    flow = flow.then(Standardize(2, "moments"))
    config = TrainConfig(
        max_epochs=150, batch_size=64, learning_rate=2e-3, weight_decay=1e-2, clip_norm=1.0, noise=0.05,
        averaging=0.99, evaluate_every=9, patience=40, seed=seed, device=device, time_budget=time_budget,
    )  # fmt: skip
    fit(flow, x, validation=0.15, config=config)
    moulding(flow.cpu(), x, columns=_PLANE, seed=seed).savefig(path, dpi=110)
