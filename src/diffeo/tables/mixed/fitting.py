"""Fitting a density of mixed columns: a model a fold, and what share the trained ones have."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.bijections import Gaussianize, Identity
from diffeo.errors import DataError, TrainingError, at_least, number
from diffeo.flows import Flow
from diffeo.tables.mixed.density import Folds, MixedDensity, mixed
from diffeo.tables.mixed.marginals import fit_marginals, nearest_inside
from diffeo.tables.mixed.model import MixedModel, described
from diffeo.tables.mixed.rows import MixedRows
from diffeo.tables.mixed.settings import MixedSettings, settings_for
from diffeo.tables.variable import Encoded, Variable, check_encoded
from diffeo.training import TrainConfig, fit

Floats: TypeAlias = NDArray[np.float64]

#: A weight below this is not worth its model.
_NOTHING = 1e-4

#: Fewer possible training rows than this train nothing.
_FEWEST = 10


@dataclass(frozen=True)
class _Fold:
    """What a fold gave: the product of marginals and perhaps a trained model, and what both say of rows."""

    models: tuple[MixedModel, ...]
    held: Floats  # (models, rows)


def fitted(
    variables: tuple[Variable, ...],
    encoded: Encoded,
    folds: Folds,
    *,
    budget: float,
    seed: int,
    settings: MixedSettings | None,
    report: Callable[[str], Any] | None,
) -> tuple[MixedDensity, Floats]:
    """Return the density and the log-densities of held-out rows: see :meth:`MixedDensity.fit`."""
    begun = time.perf_counter()
    check_encoded(variables, encoded)
    number("budget", budget, above=0)
    at_least("seed", seed, 0)
    if not len(folds):
        raise DataError("folds is empty; expected at least one pair of training and held-out rows.")
    say = report or _silent
    done = list[_Fold]()
    for k, (train, held) in enumerate(folds):
        if not len(train):
            raise DataError(f"folds[{k}] has no training rows; expected at least one.")
        left = budget - (time.perf_counter() - begun)
        share = left / (len(folds) - k)
        rows = encoded.rows(train), encoded.rows(held)
        chosen = settings or settings_for(len(train), variables, share)
        done.append(_fit_fold(variables, *rows, chosen, share, seed + k, say))
    # Folds in which a model could not be trained have the product of marginals alone.
    both = [fold for fold in done if len(fold.models) == 2]
    share = _shares(np.concatenate([fold.held for fold in both], 1)) if both else np.ones(1)
    models, weights, log_p = list[MixedModel](), list[float](), list[Floats]()
    for fold in done:
        own = share if len(fold.models) == len(share) else np.ones(1)
        models += [model for model, weight in zip(fold.models, own, strict=True) if weight > 0]
        weights += [float(weight) / len(done) for weight in own if weight > 0]
        with np.errstate(divide="ignore"):
            log_p.append(mixed(fold.held + np.log(own)[:, None]))
    held_out = np.concatenate(log_p)
    if len(share) == 2:
        say(f"mixed columns: weight {share[1]:.3f} for trained models, {share[0]:.3f} for marginals")
    return MixedDensity(models, weights), held_out


def _silent(text: str) -> None:
    del text


def _fit_fold(
    variables: tuple[Variable, ...],
    train: Encoded,
    held: Encoded,
    settings: MixedSettings,
    budget: float,
    seed: int,
    say: Callable[[str], Any],
) -> _Fold:
    begun = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        marginals = fit_marginals(variables, train, seed)
        product = _model(variables, marginals, replace(settings, hidden=0), train)
        z, _, ok = product.pack(train)
        z = z[ok]
        product.rows.initialise(z)
        z_held, _, ok_held = product.pack(held)
        trained = None
        if len(variables) > 1 and settings.hidden and len(z) >= _FEWEST and bool(ok_held.any()):
            trained = _model(variables, marginals, settings, train)
            trained.rows.initialise(z)
    scoring = _seconds_of(product, trained, held)
    models = [product]
    log_p = [product.log_prob(held)]
    before = float(np.mean(log_p[0][ok_held.numpy()])) if bool(ok_held.any()) else np.nan
    if trained is not None:
        left = budget - (time.perf_counter() - begun) - scoring
        if left > 0 and _train(trained, z.float(), z_held[ok_held].float(), settings, left, seed):
            models.append(trained)
            log_p.append(trained.log_prob(held))
            after = float(np.mean(log_p[1][ok_held.numpy()]))
            say(
                f"mixed columns: {len(z)} rows, {settings.hidden} × {settings.blocks} units: held out "
                f"{after:.4f} nats, {after - before:+.4f} beside the product of marginals, in "
                f"{time.perf_counter() - begun:.1f} s"
            )
    return _Fold(tuple(models), np.stack(log_p))


def _model(
    variables: tuple[Variable, ...],
    marginals: list[Gaussianize | None],
    settings: MixedSettings,
    train: Encoded,
) -> MixedModel:
    rows = MixedRows(
        *described(variables),
        hidden=settings.hidden,
        blocks=settings.blocks,
        components=settings.components if settings.hidden else 1,
        dropout=settings.dropout,
    )
    model = MixedModel(variables, marginals, rows).eval()
    model.inside.copy_(nearest_inside(variables, train))
    return model


def _seconds_of(product: MixedModel, trained: MixedModel | None, held: Encoded) -> float:
    """Return how long scoring the held-out rows will take, measured on a few of them."""
    model = product if trained is None else trained
    few = held.rows(slice(0, 512))
    begun = time.perf_counter()
    model.log_prob(few)
    return (time.perf_counter() - begun) * len(held) / max(1, len(few))


def _train(
    model: MixedModel, z: Tensor, held: Tensor, settings: MixedSettings, budget: float, seed: int
) -> bool:
    """Train the model on packed rows; return whether that went well."""
    flow = Flow(model.rows.float(), Identity())
    config = TrainConfig(
        time_budget=budget,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        batch_size=settings.batch_size,
        averaging=settings.averaging,
        patience=settings.patience,
        max_steps=settings.max_steps,
        seed=seed,
        device="cpu",
    )
    try:
        with warnings.catch_warnings():
            # A step that was skipped is forgiven; if held-out rows end badly, the weights say so.
            warnings.simplefilter("ignore", UserWarning)
            fit(flow, z, validation=held, config=config, progress=False)
    except TrainingError:
        return False
    finally:
        model.rows.double().eval()
    return True


def _shares(log_p: Floats, steps: int = 200) -> Floats:
    """Return the weights that make the mixture of models most likely, by EM: log_p is (models, rows).

    Source: Dempster, Laird & Rubin (1977), section 4.3; for weights alone the likelihood is concave.

    >>> _shares(np.log(np.array([[0.1, 0.1, 0.4], [0.4, 0.4, 0.1]]))).round(2).tolist()
    [0.22, 0.78]
    """
    log_p = log_p[:, np.isfinite(log_p.max(0))]
    weights = np.full(len(log_p), 1 / len(log_p))
    if not log_p.shape[1]:
        return weights
    odds = np.exp(log_p - log_p.max(0))
    for _ in range(steps):
        share = weights[:, None] * odds
        weights = (share / share.sum(0)).mean(1)
    weights[weights < _NOTHING] = 0.0
    return weights / weights.sum()
