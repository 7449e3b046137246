"""``diffeo report``: one page on a model and rows, in words first."""

from __future__ import annotations

import webbrowser
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from diffeo.cli.answer import answering
from diffeo.cli.options import Data, Json, Model, Seed


def report(
    model: Model,
    data: Data,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The page to write (.html).")
    ] = "report.html",
    group: Annotated[
        str | None, typer.Option(help="A column whose groups are compared, as --group sex.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="A table of the same columns, to which the data are compared (drift)."),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Print the report on the terminal, and write no page.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Is the density right, which rows are strange, do groups and times differ? One page says so.

    The page needs no network: it opens from disk, prints, and is read by keyboard and by screen readers.
    Report on rows that took no part in the fit. A model is a file of `diffeo fit` or of FlowDensity.save.
    """
    with answering(json) as answer:
        from diffeo import FlowDensity
        from diffeo.cli.any_table import read_as
        from diffeo.cli.choices import not_over
        from diffeo.report import examine
        from diffeo.tables import read_table

        target = Path(output)
        if not text:
            not_over(output, DATA=data, MODEL=model, **({"REFERENCE": reference} if reference else {}))
            _check_page(target)
        loaded = load_any(model)
        read = partial(read_as, loaded) if isinstance(loaded, FlowDensity) else read_table
        found = examine(
            loaded,
            read(data),
            group=group,
            reference=None if reference is None else read(reference),
            seed=seed,
            name="" if data == "-" else Path(data).name,
            progress=lambda step: answer.remark(f"… {step}"),
        )
        if text:
            facts = {**found.to_json(), "output": None}
            if json:
                answer.give(facts, found.in_words())
            else:
                found.print()
            return
        found.save(target)
        size = target.stat().st_size / 1e6
        answer.give({**found.to_json(), "output": str(target)}, f"{found}\n{target} ({size:.1f} MB)")
        if open_:
            webbrowser.open(target.resolve().as_uri())


def load_any(path: str) -> Any:
    """Return the model in a file: an estimator, a table's model or a flow.

    Raises:
        FileError: the file cannot be read.
    """
    from diffeo import FlowDensity, load
    from diffeo.files import describe_file

    if describe_file(path)["extra"].get("estimator") == "FlowDensity":
        return FlowDensity.load(path)
    return load(path, device="cpu")


def _check_page(target: Path) -> None:
    from diffeo.errors import ConfigError, FileError

    if target.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"-o {str(target)!r} is no page; expected a name as report.html.")
    if not target.resolve().parent.is_dir():
        raise FileError(
            f"the folder of {str(target)!r} does not exist; expected one that does: make it first."
        )
