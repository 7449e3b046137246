"""The progress bar: train and held-out nats, steps a second, time left."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Generator

from diffeo.training.plan import Plan
from diffeo.training.state import State

Show = Callable[[State], None]


@contextlib.contextmanager
def progress_bar(plan: Plan, shown: bool | None) -> Generator[Show]:
    """Give a function that shows a state; it does nothing where there is no terminal to draw on."""
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda state: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    # Together within 80 characters, so that nothing is cut off on a narrow terminal.
    columns = (BarColumn(bar_width=12), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task("", total=1.0, text="")

        def show(state: State) -> None:
            bar.update(
                task,
                completed=plan.progress(state.step, state.seconds),
                text=describe(plan, state),
            )

        yield show


def describe(plan: Plan, state: State) -> str:
    """Return one line about a state, as ``"640/2000 · train 1.2345 · held out 1.3021 nats · …"``."""
    total = "" if plan.steps is None else f"/{plan.steps}"
    parts = [f"{state.step}{total}"]
    if state.count:
        parts.append(f"train {state.total / state.count:.4f}")
    elif state.history and not math.isnan(state.history[-1].train_nats):
        parts.append(f"train {state.history[-1].train_nats:.4f}")
    if state.history and not math.isnan(state.history[-1].held_out_nats):
        parts.append(f"held out {state.history[-1].held_out_nats:.4f} nats")
    if state.seconds > 0 and state.step:
        parts.append(f"{state.step / state.seconds:.0f} steps/s")
        done = plan.progress(state.step, state.seconds)
        left = state.seconds * (1 - done) / done
        parts.append(f"{int(left) // 60}:{int(left) % 60:02d} left")
    return " · ".join(parts)
