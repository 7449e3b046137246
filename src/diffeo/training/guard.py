"""The numerics guard: where a step that is not finite went wrong, and what to do about it."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from diffeo.bijections.chain import layers_of
from diffeo.errors import TrainingError
from diffeo.flows import Flow
from diffeo.training.config import TrainConfig
from diffeo.training.optimisation import Optimisation
from diffeo.training.result import BadStep
from diffeo.training.seeds import seed_step


def first_bad(losses: Tensor, norms: Tensor) -> int | None:
    """Return the position of the first step whose loss or gradient norm is not finite, or None."""
    bad = (~torch.isfinite(losses + norms)).nonzero().flatten()
    return int(bad[0]) if bad.numel() else None


def diagnose(running: Optimisation, step: int, scale: float, *, loss_was_finite: bool) -> BadStep:
    """Repeat ``step`` and return what was not finite first: activation, log-density, loss or gradient.

    The weights are still those that the step met; the caller restores others afterwards.
    """
    seed_step(running.config.seed, step, running.device)
    running.flow.train()
    quantity, layer, position = _first_activation(running, step)
    if not quantity:
        quantity, layer, position = _first_gradient(running, step)
    row = None
    if position is not None:
        row = int(running.train.number[int(running.rows_of(step)[position])])
    if not quantity:
        quantity = "gradient" if loss_was_finite else "loss"
        quantity += " (it did not recur when the step was repeated)"
    return BadStep(step=step, quantity=quantity, layer=layer, row=row, learning_rate_scale=scale)


@torch.no_grad()
def _first_activation(running: Optimisation, step: int) -> tuple[str, str, int | None]:
    """Pass the batch through the layers one by one, data side first."""
    batch = running.batch_of(step)
    value, context = batch.x, batch.context
    for name, layer in reversed(layers_of(running.flow.bijection)):
        value, log_det = layer.inverse(value, context)
        for quantity, tensor in (("activation", value), ("log-determinant", log_det)):
            position = _first_row(tensor, len(batch.x))
            if position is not None:
                return quantity, name, position
    position = _first_row(running.flow.base.log_prob(value, context), len(batch.x))
    return ("", "", None) if position is None else ("log-density of the base", "", position)


def _first_row(tensor: Tensor, rows: int) -> int | None:
    spread = tensor.expand(rows) if tensor.ndim == 0 else tensor
    bad = (~spread.isfinite()).reshape(rows, -1).any(-1).nonzero().flatten()
    return int(bad[0]) if bad.numel() else None


def _first_gradient(running: Optimisation, step: int) -> tuple[str, str, int | None]:
    running.flow.zero_grad(set_to_none=True)
    loss = running.loss_of(step)
    if not bool(loss.isfinite()):
        return "loss", "", None
    loss.backward()
    # Named in the order in which they were registered, noise side first: the way the gradient takes.
    for name, parameter in running.flow.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            return f"gradient of {name}", _layer_of(running.flow, parameter), None
    norms = [p.grad.norm() for p in running.parameters if p.grad is not None]
    if not bool(torch.stack(norms).norm().isfinite()):
        # Every part of it is finite, their squares are not: the least likely row has the largest part.
        batch = running.batch_of(step)
        with torch.no_grad():
            least = int(running.flow(batch.x, batch.context).argmin())
        return "norm of the gradient", "", least
    return "", "", None


def _layer_of(flow: Flow, parameter: Tensor) -> str:
    for name, layer in layers_of(flow.bijection):
        if any(own is parameter for own in layer.parameters()):
            return name
    return ""


def report(event: BadStep) -> None:
    """Show a skipped step: Python prints such a message to stderr unless logging is set up otherwise."""
    logging.getLogger("diffeo.training").warning("%s", event)


def give_up(event: BadStep, count: int, config: TrainConfig, flow: Flow) -> TrainingError:
    """Return the error that ends a run with more bad steps than are forgiven."""
    place = f" in layer {event.layer}" if event.layer else ""
    row = "" if event.row is None else f" for training row x[{event.row}]"
    remedy = "standardise the columns with flow.then(Standardize(…))"
    if flow.bijection.circles[1] is not None:  # a scale would open the circle
        remedy = "say where the data's circle closes with flow.then(Wrap(low, high))"
    return TrainingError(
        f"training gave up at step {event.step}: {count} step(s) were not finite, more than "
        f"max_bad_steps={config.max_bad_steps}; the last one in its {event.quantity}{place}{row}. Look at "
        f"that row, {remedy}, lower "
        f"learning_rate={config.peak:g}, or compute in float64 with flow.double(). "
        "The flow has the best weights so far."
    )
