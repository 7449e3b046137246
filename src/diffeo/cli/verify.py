"""``diffeo verify``: is the model differentiable, invertible, and its determinant right?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from diffeo.cli.answer import answering
from diffeo.cli.options import Json, Model, Seed


def verify(
    model: Model,
    rows: Annotated[
        int, typer.Option(min=2, help="How many rows, drawn from the model, to verify at.")
    ] = 256,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Check that the map is differentiable and invertible and that its log-determinant is right.

    The whole map from noise to the raw columns is checked, preprocessing included, at rows drawn from the
    model. Exit code 1 if a check fails.
    """
    with answering(json) as answer:
        import torch

        import diffeo
        from diffeo.errors import FileError
        from diffeo.tables import TableModel

        loaded: Any = diffeo.load(model, device="cpu")
        points: Any = None
        if isinstance(loaded, TableModel):
            points = torch.from_numpy(loaded.sample(rows, seed=seed).to_numpy().copy())
            loaded = loaded.as_flow()
        elif not isinstance(loaded, diffeo.Flow):
            raise FileError(f"{model!r} holds a {type(loaded).__name__}; expected a flow or a table model.")
        report = diffeo.diagnostics.verify(loaded, points)
        answer.give({"ok": bool(report.ok), **report.to_dict()}, str(report))
        if not report.ok:
            raise typer.Exit(1)
