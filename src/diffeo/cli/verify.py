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
    model (32 images at most). Of a model of mixed columns, each flow of its continuous columns is checked,
    in the coordinates
    that it sees (one fold of each). Exit code 1 if a check fails.
    """
    with answering(json) as answer:
        import torch

        import diffeo
        from diffeo.cli.any_table import flows_in
        from diffeo.cli.model_file import load_mixed
        from diffeo.errors import FileError
        from diffeo.tables import TableModel

        mixed = load_mixed(model)
        if mixed is not None:
            reports = [
                (name, diffeo.diagnostics.verify(flow, u, context))
                for name, flow, u, context in flows_in(mixed, rows, seed)
            ]
            if not reports:
                raise FileError(
                    f"{model!r} has no flow to verify: its density is a product of conditional laws and "
                    "mixtures of normals, all of them formulas; expected one with a flow."
                )
            ok = all(report.ok for _, report in reports)
            facts = [{**report.to_dict(), "name": name, "ok": bool(report.ok)} for name, report in reports]
            answer.give({"ok": ok, "flows": facts}, "\n".join(f"{name}\n{r}" for name, r in reports))
            if not ok:
                raise typer.Exit(1)
            return
        loaded: Any = diffeo.load(model, device="cpu")
        points: Any = None
        context: Any = None
        if isinstance(loaded, TableModel):
            points = torch.from_numpy(loaded.sample(rows, seed=seed).to_numpy().copy())
            loaded = loaded.as_flow()
        elif isinstance(loaded, diffeo.images.ImageModel):
            drawn = loaded.sample(min(rows, 32), seed=seed)
            cells, context = torch.from_numpy(drawn.pixels).to(loaded.flow.dtype), loaded.context_of(drawn)
            points = diffeo.images.with_noise(cells, torch.Generator().manual_seed(seed))
            loaded = loaded.as_flow()
        elif not isinstance(loaded, diffeo.Flow):
            raise FileError(
                f"{model!r} holds a {type(loaded).__name__}; expected a flow, or a model of a table or of "
                "images."
            )
        report = diffeo.diagnostics.verify(loaded, points, context)
        answer.give({"ok": bool(report.ok), **report.to_dict()}, str(report))
        if not report.ok:
            raise typer.Exit(1)
