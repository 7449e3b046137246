"""``diffeo interpolate`` and ``diffeo reconstruct``: images through their noise and back."""

from __future__ import annotations

from typing import Annotated

import typer

from diffeo.cli.answer import answering
from diffeo.cli.options import Device, Json, Model, Seed

Pictures = Annotated[
    str,
    typer.Option("--output", "-o", help="What to write: a picture, .png, or the images, .npy or .npz."),
]
Source = Annotated[
    str,
    typer.Argument(
        help="Images: a folder of PNG or JPEG, .npy, .npz, IDX, CIFAR-10's archive, or digits "
        "(scikit-learn's)."
    ),
]
Split = Annotated[
    str | None, typer.Option(help="train or test, where the data have both; train if nothing is said.")
]


def interpolate(
    model: Model,
    images: Source,
    output: Pictures,
    pairs: Annotated[
        int, typer.Option("--pairs", "-n", min=1, help="How many pairs of images, the first ones.")
    ] = 8,
    steps: Annotated[int, typer.Option(min=2, help="Images of each way, its ends included.")] = 9,
    split: Split = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Draw the way from one image to another through the model's noise; a row for each pair.

    Pairs are the first image and the second, the third and the fourth, and so on. Both ends come back
    exactly.
    """
    with answering(json) as answer:
        from diffeo.cli.choices import not_over
        from diffeo.cli.images import check_pictures, load_images, write_images
        from diffeo.errors import DataError
        from diffeo.images import read

        not_over(output, MODEL=model, IMAGES=images)
        check_pictures(output)
        density = load_images(model, device)
        found = read(images, split=split)
        if len(found) < 2 * pairs:
            raise DataError(
                f"{images!r} has {len(found)} image(s); expected at least {2 * pairs} for {pairs} "
                "pair(s): ask for fewer, --pairs."
            )
        rows = density.interpolate(found[: 2 * pairs : 2], found[1 : 2 * pairs : 2], steps)
        write_images(rows, output)
        facts = {"pairs": pairs, "steps": steps, "output": output}
        answer.give(facts, f"{pairs} ways of {steps} images written to {output}")


def reconstruct(
    model: Model,
    images: Source,
    output: Pictures,
    n: Annotated[int, typer.Option("--images", "-n", min=1, help="How many images, the first ones.")] = 16,
    scales: Annotated[
        bool,
        typer.Option(
            "--scales",
            help="Show what each scale holds: below the images, the same with the noise of the finest "
            "scales drawn anew, of ever more of them.",
        ),
    ] = False,
    split: Split = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Take images to their noise and back, and say how many come back exactly: all of them should.

    The upper row of the picture has the images, the lower one what came back.
    """
    with answering(json) as answer:
        from diffeo.cli.choices import not_over
        from diffeo.cli.images import check_pictures, load_images, write_images
        from diffeo.images import read
        from diffeo.images.showing import what_scales_hold

        not_over(output, MODEL=model, IMAGES=images)
        check_pictures(output)
        density = load_images(model, device)
        found = read(images, split=split)[:n]
        again = density.reconstruct(found)
        exact = int((again.pixels == found.pixels).all((1, 2, 3)).sum())
        rows = what_scales_hold(density, found, seed=seed) if scales else [found, again]
        write_images(rows, output)
        facts = {"images": len(found), "exact": exact, "rows": len(rows), "output": output}
        answer.give(facts, f"{exact} of {len(found)} images come back exactly; written to {output}")
