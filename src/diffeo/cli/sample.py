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
    temperature: Annotated[
        str | None,
        typer.Option(
            help="Of images: how far from its centre noise is drawn; several, as 0.5,0.7,1, are rows."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Of images by class: the class.")] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="Of images by class, by a tarflow: how far to push them towards their class."),
    ] = None,
    moulding: Annotated[
        int | None,
        typer.Option(min=2, help="Of images: so many pictures of how noise becomes each.", metavar="STEPS"),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write rows drawn from the model's density: the columns of the data, in its units.

    Images are written as one picture, -o samples.png, or as an array, .npy or .npz.
    """
    with answering(json, data_on_stdout=output == "-") as answer:
        from diffeo.cli.any_table import samples
        from diffeo.cli.choices import not_over
        from diffeo.cli.images import holds_images, sample_images
        from diffeo.cli.model_file import load_density
        from diffeo.errors import ConfigError
        from diffeo.tables import TableModel, open_writer
        from diffeo.tables.write import check_writable

        if json and output == "-":
            raise ConfigError(
                "--json prints one object on standard output, so the rows need a file: -o FILE."
            )
        not_over(output, MODEL=model)
        if holds_images(model):
            sample_images(
                answer,
                model,
                n,
                output,
                temperature=temperature,
                label=label,
                guidance=guidance,
                steps=moulding,
                seed=seed,
                device=device,
            )
            return
        if any(option is not None for option in (temperature, label, guidance, moulding)):
            raise ConfigError(
                "--temperature, --label, --guidance and --moulding are of images, and the model is of a "
                "table: leave them out."
            )
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
