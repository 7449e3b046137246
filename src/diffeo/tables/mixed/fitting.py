"""Fitting a density of mixed columns: a model a fold, and what share the trained ones have."""

from __future__ import annotations

import copy
import itertools
import math
import time
import warnings
from collections.abc import Callable, Sequence
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
from diffeo.tables.mixed.model import MixedModel, Packed, described
from diffeo.tables.mixed.rows import MixedRows
from diffeo.tables.mixed.settings import MixedSettings, settings_for
from diffeo.tables.variable import Encoded, Variable, check_encoded
from diffeo.training import TrainConfig, fit

Floats: TypeAlias = NDArray[np.float64]

#: A weight below this is not worth its model.
_NOTHING = 1e-4

#: The part of the time that marginals may take.
_MARGINALS = 0.3

#: The part of the time that the last steps may take beyond their end.
_LAST = 0.05

#: Fewer possible training rows than this train nothing.
_FEWEST = 10

#: Held-out rows that training looks at as it goes, at most, and those whose scoring is timed.
WATCHED = _TIMED = 4_096


@dataclass(frozen=True)
class _Fold:
    """What a fold gave: the product of marginals and perhaps a trained model, and what both say of rows."""

    models: tuple[MixedModel, ...]
    held: Floats  # (models, rows)


@dataclass(frozen=True)
class Going:
    """How a fit goes.

    Attributes:
        budget: seconds, which may be infinite.
        steps: of each training, if the clock is not to decide.
        given: leading columns that are a context.
        seed: of everything random.
        settings: sizes and training, None for those of the table's size.
        say: told of the progress.
    """

    budget: float
    steps: int | None
    given: int
    seed: int
    settings: MixedSettings | None
    say: Callable[[str], Any]

    def checked(self, folds: Folds) -> Going:
        """Return this, or raise where it or the folds cannot be used."""
        if self.steps is None or self.budget != math.inf:
            number("budget", self.budget, above=0)
        at_least("steps", self.steps, 1, optional=True)
        at_least("seed", self.seed, 0)
        if not len(folds):
            raise DataError("folds is empty; expected at least one pair of training and held-out rows.")
        for k, (train, _) in enumerate(folds):
            if not len(train):
                raise DataError(f"folds[{k}] has no training rows; expected at least one.")
        return self


def fitted(
    variables: tuple[Variable, ...], encoded: Encoded, folds: Folds, going: Going
) -> tuple[MixedDensity, Floats]:
    """Return the density and the log-densities of held-out rows: see :meth:`MixedDensity.fit`."""
    check_encoded(variables, encoded)

    def models(train: Encoded, share: float, seed: int) -> tuple[list[MixedModel], Tensor, MixedSettings]:
        chosen = going.settings or settings_for(len(train), variables, min(share, 1e6))
        seconds = math.inf if going.steps else _MARGINALS * share
        return *_untrained(variables, train, chosen, seed, seconds), chosen

    return _folded(encoded, folds, going.checked(folds), models)


def refined(
    models: Sequence[MixedModel], encoded: Encoded, folds: Folds, going: Going
) -> tuple[MixedDensity, Floats]:
    """Return the density whose trained models went on, on these rows: see :meth:`MixedDensity.refine`."""
    variables = models[0].variables
    check_encoded(variables, encoded)
    trained = [model for model in models if len(model.rows.network.degrees)]
    turn = itertools.count()

    def again(train: Encoded, share: float, seed: int) -> tuple[list[MixedModel], Tensor, MixedSettings]:
        settings = going.settings or settings_for(len(train), variables, min(share, 1e6))
        seconds = math.inf if going.steps else _MARGINALS * share
        if not trained:
            return *_untrained(variables, train, settings, seed, seconds), settings
        settings = replace(settings, learning_rate=0.5 * settings.learning_rate)
        own = copy.deepcopy(trained[next(turn) % len(trained)])
        z = _possible_rows(own, train)
        own.rows.recentre(z)
        return [_product(variables, train, settings, seed, seconds)[0], own], z, settings

    return _folded(encoded, folds, going.checked(folds), again)


def _folded(
    encoded: Encoded,
    folds: Folds,
    going: Going,
    models: Callable[[Encoded, float, int], tuple[list[MixedModel], Tensor, MixedSettings]],
) -> tuple[MixedDensity, Floats]:
    begun = time.perf_counter()
    done = list[_Fold]()
    for k, (train, held) in enumerate(folds):
        share = (going.budget - (time.perf_counter() - begun)) / (len(folds) - k)
        started = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(going.seed + k)
            own, z, settings = models(encoded.rows(train), share, going.seed + k)
        left = share - (time.perf_counter() - started)
        done.append(_fit_fold(own, z, encoded.rows(held), settings, left, going, going.seed + k))
    # Folds in which a model could not be trained have the product of marginals alone.
    both = [fold for fold in done if len(fold.models) == 2]
    share = _shares(np.concatenate([fold.held for fold in both], 1)) if both else np.ones(1)
    found, weights, log_p = list[MixedModel](), list[float](), list[Floats]()
    for fold in done:
        own = share if len(fold.models) == len(share) else np.ones(1)
        found += [model for model, weight in zip(fold.models, own, strict=True) if weight > 0]
        weights += [float(weight) / len(done) for weight in own if weight > 0]
        with np.errstate(divide="ignore"):
            log_p.append(mixed(fold.held + np.log(own)[:, None]))
    if len(share) == 2:
        going.say(f"mixed columns: weight {share[1]:.3f} for trained models, {share[0]:.3f} for marginals")
    return MixedDensity(found, weights, going.given), np.concatenate(log_p)


def silent(text: str) -> None:
    """Say nothing."""
    del text


def _untrained(
    variables: tuple[Variable, ...], train: Encoded, settings: MixedSettings, seed: int, seconds: float
) -> tuple[list[MixedModel], Tensor]:
    """Return the product of marginals and a model that starts there unless rows are few; packed rows."""
    product, marginals, z = _product(variables, train, settings, seed, seconds)
    if len(variables) < 2 or not settings.hidden or len(z) < _FEWEST:
        return [product], z
    trained = _model(variables, marginals, settings, train)
    trained.rows.initialise(z)
    return [product, trained], z


def _possible_rows(model: MixedModel, rows: Encoded) -> Tensor:
    """Return packed rows, those that are possible, as training reads them."""
    z, ok = model.pack(rows, torch.float32)
    return z if bool(ok.all()) else z[ok]


def _product(
    variables: tuple[Variable, ...], train: Encoded, settings: MixedSettings, seed: int, seconds: float
) -> tuple[MixedModel, list[Gaussianize | None], Tensor]:
    """Return the product of marginals, these, and packed rows."""
    marginals = fit_marginals(variables, train, seed, seconds)
    product = _model(variables, marginals, replace(settings, hidden=0), train)
    z = _possible_rows(product, train)
    product.rows.initialise(z)
    return product, marginals, z


def _fit_fold(
    models: list[MixedModel],
    z: Tensor,
    held: Encoded,
    settings: MixedSettings,
    budget: float,
    going: Going,
    seed: int,
) -> _Fold:
    begun = time.perf_counter()
    product, given = models[0], going.given
    packed = product.pack_apart(held)
    ok = packed.ok.all(-1)
    log_p = [product.log_prob_of(packed, given)]
    if len(models) == 1 or not bool(ok.any()):
        return _Fold((product,), np.stack(log_p))
    before = float(np.mean(log_p[0][ok.numpy()]))
    trained = models[1]
    # One that goes on keeps its marginals.
    packed = packed if _one_view(models) else trained.pack_apart(held)
    watched = _watched(packed.z[packed.ok.all(-1)], seed).float()
    # They are looked at once more when the time of training is over, and all are scored after it.
    scoring = _seconds_of(trained, packed) * (1 + len(watched) / len(packed.z))
    left = (1 - _LAST) * budget - (time.perf_counter() - begun) - scoring
    if (left > 0 or going.steps is not None) and _train(
        trained, z, watched, settings, left, going.steps, seed
    ):
        log_p.append(trained.log_prob_of(packed, given))
        after = float(np.mean(log_p[1][ok.numpy()]))
        going.say(
            f"mixed columns: {len(z)} rows, {settings.hidden} × {settings.blocks} units: held out "
            f"{after:.4f} nats, {after - before:+.4f} beside the product of marginals, in "
            f"{time.perf_counter() - begun:.1f} s"
        )
        return _Fold((product, trained), np.stack(log_p))
    going.say(
        f"mixed columns: no network was trained on {len(z)} rows in the {max(budget, 0.0):.1f} s there "
        "were: the product of marginals stands; give more time"
    )
    return _Fold((product,), np.stack(log_p))


def _one_view(models: Sequence[MixedModel]) -> bool:
    """Return whether two models have the same marginals."""
    pairs = zip(models[0].marginals, models[1].marginals, strict=True)
    return all(one is other for one, other in pairs if isinstance(one, Gaussianize))


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


def _seconds_of(model: MixedModel, held: Packed) -> float:
    """Return how long scoring the held-out rows will take, measured on some of them; not the first time."""
    few = Packed(*(each[:_TIMED] for each in held))
    model.log_prob_of(Packed(*(each[:2] for each in few)))
    begun = time.perf_counter()
    model.log_prob_of(few)
    return (time.perf_counter() - begun) * len(held.z) / max(1, len(few.z))


def _watched(rows: Tensor, seed: int) -> Tensor:
    """Return what training looks at as it goes: the held-out rows, or some of many."""
    if len(rows) <= WATCHED:
        return rows
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:WATCHED]]


def _train(
    model: MixedModel,
    z: Tensor,
    held: Tensor,
    settings: MixedSettings,
    budget: float,
    steps: int | None,
    seed: int,
) -> bool:
    """Train the model on packed rows; return whether that went well."""
    flow = Flow(model.rows.float(), Identity())
    config = TrainConfig(
        time_budget=budget if steps is None else None,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        batch_size=settings.batch_size,
        averaging=settings.averaging,
        patience=settings.patience,
        max_steps=settings.max_steps if steps is None else steps,
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
