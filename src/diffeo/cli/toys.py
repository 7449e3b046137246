"""``diffeo toys``: eight densities on the plane whose entropy is known, and how near flows come to it."""

from __future__ import annotations

import os
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffeo.cli.answer import answering, print_json
from diffeo.cli.options import Json, Seed

if TYPE_CHECKING:
    from diffeo.cli.toy_runs import Run


def toys(
    output: Annotated[
        str, typer.Option("--output", "-o", help="The folder for the picture and the figures.")
    ] = "toys-output",
    toy: Annotated[
        list[str] | None, typer.Option(help="Only this toy; repeat it for several. Without it, all eight.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each flow trains on each toy.")] = 50.0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Flows trained side by side; without it, one a core.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train NSF, RealNVP and NICE on toys; print how far each stays from the entropy, and draw them."""
    with answering(json):
        from diffeo.cli.demo_text import Page
        from diffeo.cli.toy_runs import FLOWS, run_toy
        from diffeo.errors import one_of
        from diffeo.toys import TOYS

        names = list(dict.fromkeys(toy)) if toy else list(TOYS)
        for name in names:
            one_of("toy", name, TOYS)
        folder = Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        page = Page(json)
        side_by_side = workers or os.cpu_count() or 1
        threads = max(1, (os.cpu_count() or 1) // side_by_side)
        jobs = [(name, flow, seconds, seed, threads) for flow in FLOWS for name in names]
        page.section(
            f"{len(names)} toys × {len(FLOWS)} flows, {seconds:g} s each, {side_by_side} side by side",
            "Held-out KL(p_D ‖ p_θ) = −mean log p_θ − H, in nats: 0 is the toy itself.",
        )
        found: dict[tuple[str, str], Run] = {}
        # A fresh process for each worker: a fork would share this one's threads.
        pool = ProcessPoolExecutor(side_by_side, mp_context=get_context("spawn"))
        try:
            waiting: list[Future[Run]] = [pool.submit(run_toy, *job) for job in jobs]
            for future in as_completed(waiting):
                run = future.result()
                found[run.toy, run.flow] = run
                page.line(
                    f"{len(found):2}/{len(jobs)}  {run.flow} on {run.toy}: {run.kl:.4f} ± {run.error:.4f} "
                    f"nats, {run.steps} steps in {run.seconds:.0f} s"
                )
        finally:
            pool.shutdown(cancel_futures=True)
        page.section("KL in nats ± standard error of the test rows", _table(names, list(FLOWS), found))
        picture = folder / "toys.png"
        _draw(names, list(FLOWS), found).savefig(picture, dpi=80)
        page.section("The picture", str(picture))
        if json:
            print_json({"seconds": seconds, "seed": seed, "runs": _facts(found), "picture": str(picture)})


def _facts(found: dict[tuple[str, str], Run]) -> list[dict[str, Any]]:
    from diffeo.cli.toy_runs import aim

    kept = ("toy", "flow", "kl", "error", "seconds", "steps")
    return [{**{k: getattr(run, k) for k in kept}, "aim": aim(run.toy)} for run in found.values()]


def _table(names: list[str], flows: list[str], found: dict[tuple[str, str], Run]) -> Any:
    from rich.table import Table

    from diffeo.cli.toy_runs import aim
    from diffeo.toys import TOYS

    table = Table("toy", box=None, pad_edge=False)
    for heading in ("entropy H", "aim", *flows):
        table.add_column(heading, justify="right")
    for name in names:
        runs = [found[name, flow] for flow in flows]
        cells = [f"{run.kl:.4f} ± {run.error:.4f} {'✓' if run.kl <= aim(name) else '✗'}" for run in runs]
        table.add_row(name, f"{TOYS[name].entropy:.4f}", f"{aim(name):.2f}", *cells)
    return table


def _draw(names: list[str], flows: list[str], found: dict[tuple[str, str], Run]) -> Any:
    """Return the picture: a row for each toy; its density, the first flow's draws, each flow's density."""
    from matplotlib.figure import Figure as Picture

    from diffeo.cli.toy_runs import REACH, exact

    first = flows[0]
    headings = ["the toy: p_D", f"{first}: density", f"{first}: samples"]
    headings += [f"{flow}: density" for flow in flows[1:]]
    picture = Picture(figsize=(2.6 * len(headings), 2.7 * len(names)), layout="constrained")
    axes = picture.subplots(len(names), len(headings), squeeze=False)
    box = (-REACH, REACH, -REACH, REACH)
    for row, name in zip(axes, names, strict=True):
        true = exact(name)
        shades = [true, found[name, first].density, *(found[name, flow].density for flow in flows[1:])]
        panels = [row[0], row[1], *row[3:]]
        for ax, density in zip(panels, shades, strict=True):
            # The square root keeps thin parts visible; all panels of a row have one scale.
            ax.imshow(density.T**0.5, origin="lower", extent=box, cmap="YlGnBu", vmax=true.max() ** 0.5)
        row[2].scatter(*found[name, first].samples.T, s=1.0, color="#22223b", linewidths=0, alpha=0.6)
        row[0].set_ylabel(name)
        for column, (ax, heading) in enumerate(zip(row, headings, strict=True)):
            flow = heading.split(":")[0]
            beside = "" if column in (0, 2) else f", KL {found[name, flow].kl:.3f}"
            ax.set(xlim=box[:2], ylim=box[2:], xticks=[], yticks=[], aspect="equal")
            ax.set_title(heading + beside, fontsize=8)
    return picture
