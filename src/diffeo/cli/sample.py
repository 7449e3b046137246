"""``diffeo sample``: new rows drawn from a density."""

from __future__ import annotations

from typing import Annotated

import typer

from diffeo.cli.answer import answering
from diffeo.cli.counting import counting
from diffeo.cli.options import Device, Json, Model, Seed, Table


def sample(
    model: Model,
    n: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows to draw.")],
    output: Table = "-",
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write rows drawn from the model's density: the columns of the data, in its units."""
    with answering(json, data_on_stdout=output == "-") as answer:
        from diffeo.cli.any_table import samples
        from diffeo.cli.choices import not_over
        from diffeo.cli.model_file import load_density
        from diffeo.errors import ConfigError
        from diffeo.tables import TableModel, open_writer
        from diffeo.tables.write import check_writable

        if json and output == "-":
            raise ConfigError(
                "--json prints one object on standard output, so the rows need a file: -o FILE."
            )
        not_over(output, MODEL=model)
        check_writable(output)
        density = load_density(model, device)
        of_numbers = isinstance(density, TableModel)
        drawn = density.iter_samples(n, seed=seed) if of_numbers else samples(density, n, seed)
        names = list[str]()
        with counting("sampling", n) as advance, open_writer(output) as write:
            for frame in drawn:
                names = frame.columns
                write(frame)
                advance(frame.height)
        facts = {"rows": n, "columns": names, "seed": seed, "output": output}
        answer.give(facts, f"{n} rows of {len(names)} columns drawn with seed {seed}")
