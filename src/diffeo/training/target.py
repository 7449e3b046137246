"""Fitting a flow to a density that is known up to a constant: variational inference."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections import onto
from diffeo.errors import ConfigError, TrainingError, at_least
from diffeo.flows import Flow
from diffeo.objectives import LogDensity, Objective, ReverseKL
from diffeo.objectives.target import check_log_density, log_density_at
from diffeo.registry import from_spec, to_spec
from diffeo.training.config import TrainConfig
from diffeo.training.loop import fit
from diffeo.training.optimisation import load_weights, weights_of
from diffeo.training.result import Evaluation, FitResult
from diffeo.training.seeds import derived_seed
from diffeo.training.target_result import TargetResult

#: Draws that the target is tried at before anything is trained, and that stand for rows of data.
TRIED = 256

#: Draws that are weighted at a time.
CHUNK = 4096


def fit_target(
    flow: Flow,
    log_density: LogDensity,
    *,
    support: Any = None,
    objective: Objective | None = None,
    config: TrainConfig | None = None,
    restarts: int = 1,
    draws: int = 10_000,
    callback: Callable[[Evaluation], Any] | None = None,
    progress: bool | None = None,
) -> TargetResult:
    """Fit a flow to p(x) = p̃(x) / Z, of which log p̃ can be computed; no data are needed.

    By default KL(q_θ ‖ p) is made small, with path gradients. Then draws of the flow are weighted by
    w = p̃ / q_θ: their mean is an estimate of Z, and how even they are says how good the flow is.

    Args:
        flow: a flow over ℝᴰ without context, changed in place.
        log_density: log p̃: x of shape ``(n, *event_shape)`` to (n,), by torch's functions, so that it can
            be differentiated. It need not be normalised, nor defined outside the support.
        support: where p̃ is above 0, if not on all of ℝᴰ: one of ``torch.distributions.constraints``,
            or a list with one for each feature. The flow is followed by a bijection onto it
            (:func:`diffeo.bijections.onto`), so ``result.flow`` has draws there.
        objective: what is made small, as ``Renyi(log_density, alpha=0.5)``; None for
            ``ReverseKL(log_density)``.
        config: the settings of the run; 2,000 steps unless it says otherwise. An epoch is one step.
        restarts: runs, the first one from the flow as it is, the others from new random weights; the one
            with the best evidence bound is kept.
        draws: weighted draws of the result.
        callback: as in :func:`diffeo.fit`, for each run.
        progress: as in :func:`diffeo.fit`, for each run.

    Returns:
        The flow on the support, and what the weights say: evidence, effective sample size, Pareto's k̂.

    Raises:
        ConfigError, ShapeError, DtypeError: an argument cannot be used, or log p̃ is no number, has another
            shape than one number a row, or no gradient.
        TrainingError: too many steps were not finite, or no run reached a finite bound.

    >>> from diffeo.flows import RealNVP
    >>> def log_density(x):
    ...     return -(x - 1).square().sum(-1) / 2  # Z = 2π
    >>> flow = RealNVP(2, couplings=2, hidden=(16,))
    >>> result = fit_target(flow, log_density, config=TrainConfig(max_steps=300), draws=1000)
    >>> abs(result.log_evidence - math.log(2 * math.pi)) < 0.1
    True
    """
    config = TrainConfig() if config is None else config
    whole = _whole(flow, log_density, support, objective, config)
    at_least("restarts", restarts, 1)
    at_least("draws", draws, 100)
    _try(whole, log_density, objective, config.seed)
    chosen = ReverseKL(log_density) if objective is None else objective
    runs: list[FitResult] = []
    bounds: list[float] = []
    kept: dict[str, Tensor] = {}
    found = torch.empty(0), torch.empty(0)
    begin = {name: tensor.clone() for name, tensor in weights_of(whole).items()}
    best = 0
    for k in range(restarts):
        if k:
            load_weights(whole, _fresh(whole, begin, config.seed + k))
        runs.append(_run(whole, chosen, replace(config, seed=config.seed + k), callback, progress))
        weighted = _weighted(whole, log_density, draws, config.seed)
        bounds.append(float(weighted[1].mean()))
        if not kept or not bounds[k] <= bounds[best]:
            best = k if math.isfinite(bounds[k]) or not kept else best
            if best == k:
                found, kept = weighted, {name: t.clone() for name, t in weights_of(whole).items()}
        if runs[-1].stopped_by == "interrupted":
            break
    load_weights(whole, kept)
    if not bool(torch.logsumexp(found[1], 0).isfinite()):
        raise TrainingError(
            f"no restart reached a finite evidence (the mean of log w is {bounds[best]:g}): its draws "
            "lie where log_density is −∞ or NaN. Pass support=…, a smaller learning_rate, or a flow that "
            "begins nearer the target."
        )
    return TargetResult(whole, *found, tuple(runs), tuple(bounds), best)


def _whole(flow: Any, log_density: Any, support: Any, objective: Any, config: Any) -> Flow:
    """Return the flow on the support, the arguments checked."""
    if not isinstance(flow, Flow):
        raise ConfigError(f"flow is a {type(flow).__name__}; expected a diffeo Flow, as flows.RealNVP(2).")
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"config is a {type(config).__name__}; expected a diffeo.TrainConfig.")
    if not isinstance(objective, Objective | None):
        raise ConfigError(
            f"objective is a {type(objective).__name__}; expected a diffeo objective, as Renyi(…)."
        )
    check_log_density(log_density)
    if objective is not None and objective.needs_data:
        raise ConfigError(
            f"objective={objective!r:.60} compares with data, and there are none; expected ReverseKL, "
            "Renyi or ImportanceWeighted of log_density. With data, call diffeo.fit."
        )
    if flow.context_features:
        raise ConfigError(
            "flow reads a context; expected one without: one target is fitted. For one of (x, context), "
            "call diffeo.fit(flow, x, context=…, objective=ReverseKL(log_density)), whose x is not read."
        )
    if support is None:
        return flow
    if len(flow.event_shape) != 1 or flow.bijection.codomain is not None:
        raise ConfigError(
            "support was given for a flow that is not over vectors of ℝᴰ; expected such a flow, without a "
            "bijection onto a bounded set of its own: leave one of the two out."
        )
    return flow.then(onto(support, flow.event_shape[0]))


def _try(whole: Flow, log_density: LogDensity, objective: Objective | None, seed: int) -> None:
    """Raise :class:`ConfigError` if the target cannot be used at draws of the flow as it is."""
    x = whole.eval().sample((TRIED,), generator=_source(whole, seed, "tried"))
    with torch.no_grad():
        found = log_density_at(log_density, x, None, len(whole.event_shape))
    bad = (found.isnan() | (found == torch.inf)).nonzero().flatten()
    if bad.numel():
        k = int(bad[0])
        raise ConfigError(
            f"log_density is {float(found[k]):g} at x = {x[k].flatten().tolist()!r:.100} ({bad.numel()} of "
            f"{TRIED} draws); expected a number, or −∞ where the density is 0. Pass support=… if it is not "
            "defined everywhere."
        )
    nowhere = int((found == -torch.inf).sum())
    if nowhere == TRIED or (nowhere and (objective is None or isinstance(objective, ReverseKL))):
        raise ConfigError(
            f"log_density is −∞ at {nowhere} of {TRIED} draws of the flow as it begins, where its reverse "
            "divergence is infinite; expected numbers. Pass support=…, where the density is above 0, "
            "or begin with a flow inside it."
        )


def _run(
    whole: Flow,
    objective: Objective,
    config: TrainConfig,
    callback: Callable[[Evaluation], Any] | None,
    progress: bool | None,
) -> FitResult:
    """Train by the loop of :func:`diffeo.fit`; draws stand where rows of data would."""
    rows = whole.eval().sample((TRIED,), generator=_source(whole, config.seed, "rows"))
    with warnings.catch_warnings():
        # Draws have the units of the target; there are no data to standardise.
        warnings.filterwarnings("ignore", ".*nothing in the flow standardises it", UserWarning)
        try:
            return fit(
                whole,
                rows,
                validation=None,
                config=replace(config, batch_size=TRIED, noise=0.0),
                objective=objective,
                callback=callback,
                progress=progress,
            )
        except TrainingError as error:
            raise TrainingError(
                f"{error} There are no rows here but draws of the flow: look whether log_density or its "
                "gradient is NaN or −∞ where draws lie, and pass support=… if it is not defined there."
            ) from error


def _fresh(whole: Flow, begin: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return the state that the flow would begin with at another seed; buffers, as statistics, stay."""
    try:
        spec = to_spec(whole)
    except ConfigError as error:
        raise ConfigError(
            f"restarts above 1 build the flow anew, which needs registered parts: {error} Or pass "
            "restarts=1."
        ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        other: Flow = from_spec(spec).to(whole.base.device, whole.dtype)
    trained = {name for name, p in whole.named_parameters(remove_duplicate=False) if p.requires_grad}
    drawn = weights_of(other)
    return {name: drawn[name] if name in trained else tensor for name, tensor in begin.items()}


def _source(whole: Flow, seed: int, purpose: str) -> torch.Generator:
    """Return a generator on the flow's device."""
    return torch.Generator(whole.base.device).manual_seed(derived_seed(seed, purpose))


@torch.no_grad()
def _weighted(whole: Flow, log_density: LogDensity, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return draws and their log w, in float64; NaN counts as no weight."""
    source, parts = _source(whole, seed, "weighted"), list[tuple[Tensor, Tensor]]()
    for size in [CHUNK] * (draws // CHUNK) + [draws % CHUNK] * (draws % CHUNK > 0):
        x, log_q = whole.sample_and_log_prob((size,), generator=source)
        log_p = log_density_at(log_density, x, None, len(whole.event_shape))
        log_w = log_p.double() - log_q.double()
        parts.append((x, torch.where(log_w.isnan(), -torch.inf, log_w)))
    return torch.cat([x for x, _ in parts]), torch.cat([w for _, w in parts])
