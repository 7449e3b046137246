"""How a fit goes: every choice, with a default that suits tables of a hundred to a million rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from diffeo.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    """The settings of :func:`diffeo.fit`; each is checked when the object is made.

    Args:
        max_epochs: passes over the training rows, at most; None sets no such limit.
        max_steps: optimisation steps, at most. With neither limit nor a time budget, 100 epochs are
            planned, but no fewer than 2,000 steps and no more than 30,000.
        batch_size: rows a step, at least 2; None takes the power of two nearest to 2 √rows, from 32 to
            2,048. Batches of an epoch are made equal to within one row.
        learning_rate: the peak, reached after the warm-up.
        weight_decay: AdamW's decoupled decay, of matrices only (not of biases and scales).
        warmup: the fraction of the run over which the rate rises linearly; then it falls as a half
            cosine to zero.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        patience: evaluations without improvement after which training stops early; None never does.
        min_delta: the improvement, in nats, that counts for patience.
        evaluate_every: steps between evaluations on the held-out rows; None takes an epoch, but no less
            than 25 steps and no more than 1,000.
        averaging: decay of an exponential moving average of the weights; the average is what is evaluated
            and kept. 0 turns it off.
        noise: standard deviation of Gaussian noise added to training rows, in units of each column's
            standard deviation.
        seed: of the split, the order of the rows, the noise and dropout.
        device: "auto" (a CUDA device if there is one), or any name that torch knows.
        time_budget: seconds after which training stops; the learning rate then follows the clock.
        max_bad_steps: steps whose loss or gradient is not finite that are forgiven in a run.
        checkpoint_every: steps between saves, where ``fit`` is given a checkpoint.

    Raises:
        ConfigError: naming the argument, what was given and what is allowed.

    >>> TrainConfig(learning_rate=-1)
    Traceback (most recent call last):
    diffeo.errors.ConfigError: learning_rate=-1 must be a finite number above 0.
    """

    max_epochs: int | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05
    clip_norm: float | None = 5.0
    patience: int | None = 25
    min_delta: float = 1e-4
    evaluate_every: int | None = None
    averaging: float = 0.99
    noise: float = 0.0
    seed: int = 0
    device: str = "auto"
    time_budget: float | None = None
    max_bad_steps: int = 10
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name in ("max_epochs", "max_steps", "patience", "evaluate_every"):
            _whole(name, getattr(self, name), 1, optional=True)
        _whole("batch_size", self.batch_size, 2, optional=True)
        _whole("seed", self.seed, 0)
        _whole("max_bad_steps", self.max_bad_steps, 0)
        _whole("checkpoint_every", self.checkpoint_every, 1)
        _number("learning_rate", self.learning_rate, above=0)
        _number("clip_norm", self.clip_norm, above=0, optional=True)
        _number("time_budget", self.time_budget, above=0, optional=True)
        _number("weight_decay", self.weight_decay, least=0)
        _number("min_delta", self.min_delta, least=0)
        _number("noise", self.noise, least=0)
        _number("warmup", self.warmup, least=0, below=1)
        _number("averaging", self.averaging, least=0, below=1)
        chosen_device(self.device)


def chosen_device(name: str) -> torch.device:
    """Return the device that ``name`` stands for, or raise :class:`ConfigError`."""
    wanted = "auto, cpu, cuda, cuda:1 or another device of this torch"
    if not isinstance(name, str):
        raise ConfigError(f"device={name!r} must be a string: {wanted}.")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device={name!r} cannot be used here ({str(error).splitlines()[0]}); expected {wanted}. "
            'device="auto" takes a GPU where there is one.'
        ) from error
    if device.type == "meta":
        raise ConfigError(f"device={name!r} holds no numbers; expected {wanted}.")
    return device


def _whole(name: str, given: Any, least: int, *, optional: bool = False) -> None:
    if optional and given is None:
        return
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        alternative = ", or None" if optional else ""
        raise ConfigError(f"{name}={given!r} must be a whole number of at least {least}{alternative}.")


def _number(
    name: str,
    given: Any,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    optional: bool = False,
) -> None:
    if optional and given is None:
        return
    number = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    if not number or given < least or given <= above or given >= below:
        bounds = [f"of at least {least:g}"] if least > -math.inf else []
        bounds += [f"above {above:g}"] if above > -math.inf else []
        bounds += [f"below {below:g}"] if below < math.inf else []
        alternative = ", or None" if optional else ""
        raise ConfigError(f"{name}={given!r} must be a finite number {' and '.join(bounds)}{alternative}.")
