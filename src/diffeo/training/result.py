"""What a fit returns: its history, what went wrong on the way, and what stopped it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from diffeo.training.config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes


#: The unit of likelihoods.
NATS = "nats per row"


@dataclass(frozen=True)
class Evaluation:
    """One look at a run; also what a callback is given.

    Attributes:
        step: optimisation steps done.
        epoch: passes over the training rows done, a fraction among them.
        seconds: since the run began, pauses between resumed parts left out.
        train_nats: mean objective over the steps since the last evaluation (NaN at step 0); in nats, unless
            the objective has another unit.
        held_out_nats: −mean log p over the held-out rows, lower is better (NaN without such rows).
        learning_rate: of the last step.
    """

    step: int
    epoch: float
    seconds: float
    train_nats: float
    held_out_nats: float
    learning_rate: float


@dataclass(frozen=True)
class BadStep:
    """A step that was skipped, because its loss or gradient was not finite.

    Attributes:
        step: its number.
        quantity: what was not finite first, as "gradient of bijection.bijections.3.conditioner…".
        layer: the layer of the chain, as "3: Coupling", or "" where it is not known.
        row: the row of the training data that caused it, in the caller's count, or None; for the norm of a
            gradient, the least likely row of the batch.
        learning_rate_scale: the factor on the learning rate from here on.
    """

    step: int
    quantity: str
    layer: str
    row: int | None
    learning_rate_scale: float

    def __str__(self) -> str:
        place = f" in layer {self.layer}" if self.layer else ""
        row = "" if self.row is None else f", on training row x[{self.row}]"
        return (
            f"step {self.step} skipped: {self.quantity}{place} is not finite{row}; back to the last good "
            f"weights, learning rate × {self.learning_rate_scale:g}"
        )


@dataclass(frozen=True)
class FitResult:
    """The course of a fit; the flow itself holds the best weights.

    Attributes:
        history: evaluations, the first one at step 0.
        events: steps that were skipped.
        best_step: the step whose weights the flow has.
        best_held_out_nats: −mean log p of the held-out rows there, NaN without such rows.
        stopped_by: "early stopping", "max_epochs", "max_steps", "time budget", "interrupted",
            "callback", or "nothing to train" for a flow without trainable parameters.
        seconds: spent training.
        steps: steps done.
        config: the settings.
        unit: the unit of the training objective.
    """

    history: tuple[Evaluation, ...]
    events: tuple[BadStep, ...]
    best_step: int
    best_held_out_nats: float
    stopped_by: str
    seconds: float
    steps: int
    config: TrainConfig
    unit: str = NATS

    def columns(self) -> dict[str, list[float]]:
        """Return the history by column, as a data frame takes it."""
        return {f.name: [getattr(row, f.name) for row in self.history] for f in fields(Evaluation)}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the learning curves, with the step whose weights were kept; return the axes.

        ``result.plot().figure.savefig("curves.png")`` writes them to a file.
        """
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(6.4, 4.0), layout="constrained").subplots()
        table = self.columns()
        # What is not in nats has a scale of its own, on the right.
        own = ax if self.unit == NATS else ax.twinx()
        training = own.plot(table["step"], table["train_nats"], color="#8d99ae", label="training")
        if not math.isnan(self.best_held_out_nats):
            ax.plot(table["step"], table["held_out_nats"], color="#1d3557", label="held out")
            ax.plot(
                self.best_step,
                self.best_held_out_nats,
                "o",
                color="#c1440e",
                label=f"kept: {self.best_held_out_nats:.4g} at step {self.best_step}",
            )
        for k, event in enumerate(self.events):
            ax.axvline(event.step, color="#c1440e", lw=0.6, ls=":", label=None if k else "skipped step")
        ax.set_xlabel("step")
        ax.set_ylabel("−mean log p (nats per row)")
        if own is not ax:
            own.set_ylabel(f"training ({self.unit})")
        others = [line for line in ax.get_legend_handles_labels()[0] if line not in training]
        ax.legend(handles=[*training, *others], frameon=False)
        return ax

    def __str__(self) -> str:
        held: Any = "" if math.isnan(self.best_held_out_nats) else f"{self.best_held_out_nats:.4f}"
        lines = [
            f"fit: {self.steps} steps in {self.seconds:.1f} s, stopped by {self.stopped_by}",
            f"  held out {held} nats per row, at step {self.best_step}"
            if held
            else "  no held-out rows: the last weights were kept",
        ]
        if self.history and not math.isnan(self.history[-1].train_nats):
            lines.append(f"  training {self.history[-1].train_nats:.4f} {self.unit} at the end")
        lines += [f"  {event}" for event in self.events]
        return "\n".join(lines)
