"""The commands put together, and the way in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from diffeo.cli.answer import answering, finish, refuse
from diffeo.cli.compare import compare
from diffeo.cli.fit import fit
from diffeo.cli.info import info
from diffeo.cli.latents import interpolate, reconstruct
from diffeo.cli.options import Device, Json, Seed
from diffeo.cli.report import report
from diffeo.cli.sample import sample
from diffeo.cli.score import score
from diffeo.cli.toys import toys
from diffeo.cli.verify import verify

app = typer.Typer(
    name="diffeo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Learn the exact probability density of real data with normalizing flows.",
    epilog="For example: diffeo fit table.csv -o model.safetensors, then diffeo score model.safetensors "
    "table.csv. With DIFFEO_DEBUG=1 an error shows its traceback.",
)
for _command in (fit, score, sample, verify, report, info, compare, interpolate, reconstruct, toys):
    app.command()(_command)


def _print_version(asked: bool) -> None:
    if asked:
        from diffeo._version import __version__

        print(f"diffeo {__version__}")
        raise typer.Exit


@app.callback()
def diffeo(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version."),
    ] = False,
) -> None:
    """Options that stand before the command."""


@app.command()
def demo(
    output: Annotated[
        str, typer.Option("--output", "-o", help="The folder for the model and the picture.")
    ] = "demo-output",
    seed: Seed = 0,
    device: Device = "auto",
    time_budget: Annotated[float | None, typer.Option(help="Stop training after so many seconds.")] = None,
    json: Json = False,
) -> None:
    """Fit a flow to real data, beside the classical densities; verify it, sample it, draw it."""
    with answering(json) as answer:
        from diffeo.cli.demo import run as run_demo

        run_demo(answer, output=output, seed=seed, device=device, time_budget=time_budget)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, prog_name="diffeo", standalone_mode=False)
    except typer.Abort:
        return 1
    except Exception as error:
        # A usage error: Typer carries its own copy of click's exceptions, known by what they can say.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        # Without a command the help has been printed already, and there is nothing more to say.
        if said := message().strip():
            refuse(
                f"{said} See diffeo --help, or diffeo COMMAND --help.",
                kind="UsageError",
                code=2,
                as_json="--json" in given,
            )
        return 2
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(finish(run()))
