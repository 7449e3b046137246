"""``diffeo compare``: models of p(x) side by side, on one's own data."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from diffeo.cli.answer import answering
from diffeo.cli.options import Json


def compare(
    data: Annotated[
        str,
        typer.Argument(
            help="A toy (8gaussians, moons, …), digits, or a table as diffeo fit reads; - is CSV on "
            "standard input."
        ),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these; repeat, or separate by commas: flow, vae, gan, flowdensity, gaussian, "
            "mixture, kernel, copula."
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option(help="Seconds that each model trains for; closed forms take what they need.")
    ] = 20.0,
    seeds: Annotated[int, typer.Option(min=1, help="Fit each model so many times.")] = 1,
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="Use at most so many rows; of a toy, draw so many (5,000 if not given)."),
    ] = None,
    figure: Annotated[
        str | None,
        typer.Option("--figure", "-o", help="The picture to write: .png, .pdf or .svg."),
    ] = None,
    json: Json = False,
) -> None:
    """Fit models of p(x) to the same rows in equal time; print what each reaches on held-out rows.

    Held-out nats where there is a density; samples by a classifier, MMD, energy distance, precision, recall
    and nearest training rows; times and sizes; and what all that shows, in words.
    """
    with answering(json) as answer:
        from diffeo.cli.choices import names_in, not_over
        from diffeo.cli.demo_text import Page
        from diffeo.comparison import CONTENDERS
        from diffeo.comparison import compare as run
        from diffeo.comparison.picture import check_picture
        from diffeo.errors import one_of

        names = names_in("--models", models, list(CONTENDERS))
        for name in names or ():
            one_of("--models", name, CONTENDERS)
        if figure is not None:
            check_picture(figure)
            not_over(figure, DATA=data)
        result = run(data, names, time_budget=budget, seeds=seeds, rows=rows)
        page = Page(json)
        page.show(result)
        page.section("In words", *result.in_words().splitlines())
        facts: dict[str, Any] = result.facts()
        if figure is not None:
            result.figure(figure)
            page.section("The picture", figure)
        if json:
            from diffeo.cli.answer import print_json

            print_json({**facts, "figure": figure, "warnings": answer.warnings})
        if not any(result.of(name) for name in result.names):
            print("error: every model failed; the table says how.", file=sys.stderr)
            raise typer.Exit(1)
