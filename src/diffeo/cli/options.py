"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Argument(
        help="The table: .csv, .tsv, .parquet, .arrow, .feather, .ipc, .npy or .npz; "
        "- is CSV on standard input. Or images: a folder, IDX, CIFAR-10's archive, .npy, .npz."
    ),
]
Model = Annotated[str, typer.Argument(help="A model file that diffeo fit wrote.")]
Table = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        help="The table to write: .csv, .tsv, .parquet, .arrow, .feather, .ipc or .npy; "
        "- is CSV on standard output.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=2**63 - 1, help="The seed of everything random; the same seed, the same result."
    ),
]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:1, …")]
