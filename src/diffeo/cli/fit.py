"""``diffeo fit``: learn the density of a table or of images. Its options, and what they mean together."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from diffeo.cli.answer import answering
from diffeo.cli.options import Data, Device, Json, Seed


class Treatment(StrEnum):
    """What to do about what cannot be modelled."""

    refuse = "refuse"
    drop = "drop"


class Density(StrEnum):
    """What is fitted."""

    auto = "auto"
    flow = "flow"
    mixed = "mixed"


_COLUMNS, _FLOW, _TRAINING = "Columns and rows", "The flow", "Training"
_MIXED, _IMAGES = "Mixed columns", "Images"


def fit(
    data: Data,
    output: Annotated[str, typer.Option("--output", "-o", help="The model file to write (.safetensors).")],
    model: Annotated[
        Density,
        typer.Option(
            help="flow: one normalizing flow of numeric columns. mixed: the density of any table "
            "(categories, counts, dates, bounds, holes), chosen on held-out rows. auto: a flow, and mixed "
            "where a column is not numeric or has missing values and no option of a flow is given."
        ),
    ] = Density.auto,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Model only this column; repeat, or separate by commas.", rich_help_panel=_COLUMNS
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave this column out; repeat, or separate by commas.", rich_help_panel=_COLUMNS
        ),
    ] = None,
    missing: Annotated[
        Treatment | None,
        typer.Option(
            help="Rows with missing or infinite values: refuse them (as is done if nothing is said), or "
            "drop them and say how many.",
            rich_help_panel=_FLOW,
        ),
    ] = None,
    constant: Annotated[
        Treatment | None,
        typer.Option(
            help="Constant columns: refuse them (as is done if nothing is said), or drop them and say "
            "which.",
            rich_help_panel=_FLOW,
        ),
    ] = None,
    flow: Annotated[
        str | None,
        typer.Option(
            help="The architecture, realnvp if nothing is said: realnvp or nice; of images also glow and "
            "others (diffeo.images.FLOWS).",
            rich_help_panel=_FLOW,
        ),
    ] = None,
    couplings: Annotated[
        int | None, typer.Option(min=1, help="Coupling layers.", rich_help_panel=_FLOW)
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(help="Hidden widths of each conditioner, as 128,128.", rich_help_panel=_FLOW),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="The share of rows held out, for early stopping and the figure reported (at most 50,000); "
            "0.1 if nothing is said.",
            rich_help_panel=_FLOW,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="At most so many passes.", rich_help_panel=_FLOW)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Rows in a step.", rich_help_panel=_FLOW)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The largest learning rate.", rich_help_panel=_FLOW)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes without a better held-out figure before stopping.",
            rich_help_panel=_FLOW,
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="Say what a column is, as zip=categorical, where it is taken for something else; repeat.",
            rich_help_panel=_MIXED,
        ),
    ] = None,
    first: Annotated[
        list[str] | None,
        typer.Option(
            help="Put this column first in the model, which can then be conditioned on it; repeat.",
            rich_help_panel=_MIXED,
        ),
    ] = None,
    time_budget: Annotated[
        float | None, typer.Option(help="Stop training after so many seconds.", rich_help_panel=_TRAINING)
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="At most so many optimisation steps (of each training, for mixed columns: then no clock "
            "decides anything).",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of products of matrices in training: auto (if nothing is said), float32, bfloat16 or "
            "float64.",
            rich_help_panel=_FLOW,
        ),
    ] = None,
    compiling: Annotated[
        str | None,
        typer.Option(
            "--compile",
            help="auto: the compiled kernels (if nothing is said); blocks: torch.compile for other layers "
            "too, which takes a minute or more; or off.",
            rich_help_panel=_FLOW,
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Keep the state of training in this file, and go on from it if it exists: after a kill or "
            "Ctrl-C, with the same data and settings.",
            rich_help_panel=_FLOW,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the flow, as scales=3; repeat.", rich_help_panel=_IMAGES),
    ] = None,
    dequantisation: Annotated[
        str | None,
        typer.Option(
            help="Noise below the levels: uniform (if nothing is said), or variational, learnt.",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    by_class: Annotated[
        bool,
        typer.Option(
            "--by-class", help="Make the density conditional on the classes.", rich_help_panel=_IMAGES
        ),
    ] = False,
    flip: Annotated[
        bool, typer.Option("--flip", help="Mirror images left to right at random.", rich_help_panel=_IMAGES)
    ] = False,
    levels: Annotated[
        int | None,
        typer.Option(min=2, max=256, help="How many levels a pixel can have.", rich_help_panel=_IMAGES),
    ] = None,
    pixels: Annotated[
        str | None,
        typer.Option(
            help="How pixels reach the flow: logit, unit (0 to 1), centred (-½ to ½), symmetric (-1 to 1).",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    whiten: Annotated[
        str | None,
        typer.Option(
            help="Make the pixels of an image uncorrelated first: zca, as published for --flow nice of "
            "CIFAR-10, pca or cholesky.",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Gaussian noise on pixels, in levels, that samples are freed from again: 6.4 of 256 for "
            "--flow tarflow, as published.",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    drop_classes: Annotated[
        float | None,
        typer.Option(
            help="With --by-class, the share of images that learn without their class; 0.1 lets samples "
            "of a tarflow have --guidance.",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(min=1, help="Parts of a batch, one in memory at a time.", rich_help_panel=_IMAGES),
    ] = None,
    scratch: Annotated[
        str | None,
        typer.Option(
            help="A folder to stream images from, 4 bytes a pixel, where memory cannot hold them.",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="A folder for TensorBoard: bits per dimension and samples while it runs.",
            rich_help_panel=_IMAGES,
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Learn p(x) of the rows of a table, or of images, by maximum likelihood, and write the model.

    Images are a folder of PNG or JPEG (sub-folders are classes), IDX files, CIFAR-10's archive, an .npy or
    .npz of three dimensions or more, or digits, scikit-learn's.

    Every column is modelled: choose with --columns and --drop. The model file carries the columns and the
    preprocessing; its scores are in the data's own units.
    """
    with answering(json) as answer:
        from diffeo.cli.any_table import beyond_numbers, kinds_in
        from diffeo.cli.choices import names_in, not_over, widths
        from diffeo.cli.fitting import fit_mixed, fit_numbers
        from diffeo.cli.images import ImageOptions, are_images, fit_images
        from diffeo.tables import Architecture, read_table, table_training
        from diffeo.tables.numeric_schema import choose

        _check_output(output)
        not_over(output, DATA=data, **{"of --checkpoint": checkpoint or ""})
        of_images = ImageOptions(
            dequantisation=dequantisation,
            by_class=by_class,
            flip=flip,
            levels=levels,
            settings=settings or (),
            pixels=pixels,
            whiten=whiten,
            noise=noise,
            drop_classes=drop_classes,
            log=log,
            accumulate=accumulate,
            scratch=scratch,
        )
        given: dict[str, Any] = {
            "max_epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "patience": patience,
            "time_budget": time_budget,
            "max_steps": max_steps,
            "precision": precision,
            "compile": compiling,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        if are_images(data):
            from diffeo.images.model.fitting import DEFAULTS

            of_tables = {
                "--model": None if model is Density.auto else model,
                "--columns": columns,
                "--drop": drop,
                "--missing": missing,
                "--constant": constant,
                "--couplings": couplings,
                "--hidden": hidden,
                "--kind": kind,
                "--first": first,
            }
            _refuse_options([name for name, value in of_tables.items() if value], "images", "a table")
            if accumulate is not None:
                chosen["accumulate"] = accumulate
            fit_images(
                answer,
                data,
                output,
                flow=flow or "realnvp",
                options=of_images,
                config=replace(DEFAULTS, seed=seed, device=device, **chosen),
                validation=0.1 if validation is None else validation,
                checkpoint=checkpoint,
            )
            return
        _refuse_options(of_images.named(), "a table", "images")
        architecture = Architecture(flow or "realnvp", couplings, widths(hidden))
        config = table_training(seed=seed, device=device, **chosen)
        of_a_flow = {
            "--missing": missing,
            "--constant": constant,
            "--flow": flow,
            "--couplings": couplings,
            "--hidden": hidden,
            "--validation": validation,
            "--epochs": epochs,
            "--batch-size": batch_size,
            "--learning-rate": learning_rate,
            "--patience": patience,
            "--checkpoint": checkpoint,
            "--precision": precision,
            "--compile": compiling,
        }
        named = [option for option, value in of_a_flow.items() if value is not None]
        kinds = kinds_in(kind)
        frame = read_table(data)
        only = names_in("--columns", columns, frame.columns)
        without = names_in("--drop", drop, frame.columns) or ()
        if model is not Density.flow and (model is Density.mixed or kinds or first or not named):
            names = choose(frame.columns, only, without)
            why = beyond_numbers(frame, names)
            if why is not None and model is Density.auto:
                answer.remark(f"{why}: the density of mixed columns is fitted (--model flow refuses these)")
            if why is not None or model is Density.mixed or kinds or first:
                _refuse_options(named, "--model mixed", "--model flow")
                fit_mixed(
                    answer,
                    frame.select(names),
                    output,
                    kinds=kinds,
                    first=names_in("--first", first, frame.columns) or [],
                    time_budget=time_budget,
                    max_steps=max_steps,
                    seed=seed,
                    device=device,
                )
                return
        _refuse_options(
            ["--kind"] * bool(kinds) + ["--first"] * bool(first), "--model flow", "--model mixed"
        )
        fit_numbers(
            answer,
            frame,
            output,
            columns=only,
            drop=without,
            missing=(missing or Treatment.refuse).value,
            constant=(constant or Treatment.refuse).value,
            architecture=architecture,
            validation=0.1 if validation is None else validation,
            config=config,
            checkpoint=checkpoint,
        )


def _refuse_options(named: list[str], model: str, other: str) -> None:
    from diffeo.errors import ConfigError

    if named:
        raise ConfigError(
            f"{', '.join(named)} cannot be given with {model}; expected options of it: leave "
            f"{'it' if len(named) == 1 else 'them'} out, or fit with {other}."
        )


def _check_output(output: str) -> None:
    from pathlib import Path

    from diffeo.errors import ConfigError, FileError

    target = Path(output)
    if output == "-":
        raise ConfigError(
            "-o - is not possible: a model is a binary file; give it a name, as model.safetensors."
        )
    if target.is_dir() or not target.parent.is_dir():
        raise FileError(
            f"-o {output!r} cannot be written: it is a folder, or {str(target.parent)!r} is not one. "
            "Choose a file in a folder that exists."
        )
