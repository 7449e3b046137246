"""Images on the command line: fitted, scored, drawn; pictures and arrays written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.errors import ConfigError, FileError

if TYPE_CHECKING:
    from diffeo.cli.answer import Answer
    from diffeo.images import ImageModel, Images
    from diffeo.training import TrainConfig

_ENDINGS = (".png", ".jpg", ".jpeg", ".tar.gz", ".tgz", ".tar")
_IDX = ("idx3-ubyte", "idx1-ubyte", "idx3-ubyte.gz", "idx1-ubyte.gz")


@dataclass(frozen=True)
class ImageOptions:
    """What ``diffeo fit`` is told of images alone.

    Attributes:
        dequantisation: "uniform" or "variational".
        by_class: whether the density is conditional on the classes.
        flip: whether images are mirrored at random.
        levels: how many levels a pixel has, if not those of the file.
        settings: of the flow, as ``width=32``.
        pixels: how pixels reach the flow, as "unit".
        whiten: how pixels are whitened, as "zca".
        noise: Gaussian noise on pixels, in levels.
        drop_classes: the share of images that learn without their class.
        log: TensorBoard's folder.
        accumulate: parts of a batch.
        scratch: a folder to stream rows from.
    """

    dequantisation: str | None = None
    by_class: bool = False
    flip: bool = False
    levels: int | None = None
    settings: Sequence[str] = ()
    pixels: str | None = None
    whiten: str | None = None
    noise: float | None = None
    drop_classes: float | None = None
    log: str | None = None
    accumulate: int | None = None
    scratch: str | None = None

    def named(self) -> list[str]:
        """Return the options that were given."""
        given: dict[str, object] = {
            "--dequantisation": self.dequantisation,
            "--by-class": self.by_class,
            "--flip": self.flip,
            "--levels": self.levels,
            "--set": self.settings,
            "--pixels": self.pixels,
            "--whiten": self.whiten,
            "--noise": self.noise,
            "--drop-classes": self.drop_classes,
            "--log": self.log,
            "--accumulate": self.accumulate,
            "--scratch": self.scratch,
        }
        return [name for name, value in given.items() if value]


def are_images(data: str) -> bool:
    """Return whether a path, or "digits", is read as images and not as a table.

    An .npy or .npz is of images where it holds an array of three dimensions or more.

    >>> are_images("digits"), are_images("test_batch"), are_images("latest_batch.csv")
    (True, True, False)
    """
    from diffeo.images.data.cifar import is_batch

    path = Path(data)
    if data == "digits" and not path.exists():
        return True
    if path.is_dir() or path.name.lower().endswith((*_ENDINGS, *_IDX)) or is_batch(path):
        return True
    return path.suffix in (".npy", ".npz") and path.is_file() and _deep(path)


def _deep(path: Path) -> bool:
    import numpy as np

    try:
        found: Any = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
        if path.suffix == ".npy":
            return found.ndim >= 3
        with found:
            return any(found[key].ndim >= 3 for key in found.files)
    except Exception:  # whoever reads it says what is wrong with it
        return False


def settings_in(given: Sequence[str]) -> dict[str, Any]:
    """Return settings written as NAME=VALUE: numbers, true and false, lists as 64,64, or words.

    >>> settings_in(["scales=3", "hidden=64,64", "batch_norm=false", "mask=halves"])
    {'scales': 3, 'hidden': (64, 64), 'batch_norm': False, 'mask': 'halves'}
    """
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name or not value:
            raise ConfigError(
                f"--set {text!r} is not NAME=VALUE; expected a setting of the flow, as --set scales=3."
            )
        parts = [_value(part) for part in value.split(",")]
        found[name] = tuple(parts) if len(parts) > 1 else parts[0]
    return found


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def fit_images(
    answer: Answer,
    data: str,
    output: str,
    *,
    flow: str,
    options: ImageOptions,
    config: TrainConfig,
    validation: float,
    checkpoint: str | None,
) -> None:
    """Fit a model to images and write it."""
    from diffeo.images import image_model, read
    from diffeo.images.model.bits import bits_per_dim
    from diffeo.training.config import chosen_device

    chosen_device(config.device)
    images = read(data, levels=options.levels)
    if options.by_class and images.labels is None:
        raise ConfigError(
            f"--by-class was given, and {data!r} has no classes; expected labels or sub-folders: leave it "
            "out."
        )
    names = images.classes or [str(k) for k in range(images.count_of_classes)]
    model = image_model(
        images.shape,
        images.levels,
        flow=flow,
        classes=names if options.by_class else (),
        dequantisation=options.dequantisation or "uniform",
        settings=settings_in(options.settings),
        pixels=options.pixels,
        whiten=options.whiten,
        noise=options.noise or 0.0,
    )
    size = sum(parameter.numel() for parameter in model.parameters())
    answer.remark(f"modelling {images!r} by {flow} of {size:,} parameters")
    if sys.stderr.isatty():
        answer.remark("(while training, nats of an image; at the end, bits per dimension)")
    result = model.fit(
        images,
        validation=validation,
        config=config,
        flip=options.flip,
        drop=options.drop_classes or 0.0,
        checkpoint=checkpoint,
        log=options.log,
        scratch=options.scratch,
    )
    bits = bits_per_dim(-result.best_held_out_nats, model.dimensions)
    facts: dict[str, Any] = {
        "held_out_bits_per_dim": bits,
        "images": len(images),
        "shape": list(images.shape),
        "levels": images.levels,
        "classes": list(model.classes),
        "validation": validation,
        "flow": flow,
        "dequantisation": options.dequantisation or "uniform",
        "steps": result.steps,
        "stopped_by": result.stopped_by,
        "seed": config.seed,
    }
    model.save(output, extra=facts)
    answer.give(
        {**facts, "model": output, "seconds": result.seconds},
        f"held-out {bits:.4f} bits per dimension (one draw of noise an image)\n"
        f"{result.steps} steps in {result.seconds:.1f} s, stopped by {result.stopped_by}; model written to "
        f"{output}",
    )


def holds_images(path: str) -> bool:
    """Return whether a model file holds a model of images."""
    from diffeo.files import describe_file

    return describe_file(path)["model"].get("kind") == "images.ImageModel"


def load_images(path: str, device: str) -> ImageModel:
    """Return the model of images in a file, on a device."""
    from diffeo import load
    from diffeo.images import ImageModel
    from diffeo.training.config import chosen_device

    model = load(path, device=chosen_device(device))
    if not isinstance(model, ImageModel):
        raise FileError(
            f"{path!r} holds a {type(model).__name__}; expected a model of images, which `diffeo fit "
            "IMAGES/` writes."
        )
    return model


def score_images(
    answer: Answer, model: str, data: str, output: str, *, draws: int, split: str | None, device: str
) -> None:
    """Write bits per dimension and log P of every image, with its name, as a table."""
    import numpy as np
    import polars as pl

    from diffeo.cli.choices import not_over
    from diffeo.images import read
    from diffeo.images.model.bits import bits_per_dim
    from diffeo.tables import open_writer
    from diffeo.tables.write import check_writable

    not_over(output, DATA=data, MODEL=model)
    check_writable(output)
    density = load_images(model, device)
    images = read(data, split=split)
    log_p = density.log_prob(images, draws=draws)
    bits = bits_per_dim(log_p, density.dimensions)
    with open_writer(output) as write:
        write(pl.DataFrame({"image": list(images.names), "bits_per_dim": bits, "log_prob": log_p}))
    mean, error = float(bits.mean()), float(bits.std() / np.sqrt(len(bits)))
    strange = [int(k) for k in np.argsort(-bits, kind="stable")[:5]]
    facts: dict[str, Any] = {
        "images": len(images),
        "bits_per_dim": mean,
        "standard_error": error,
        "draws": draws,
        "unit_nats": float(log_p.mean() + density.dimensions * np.log(density.levels)),
        "least_likely": [{"image": images.names[k], "bits_per_dim": float(bits[k])} for k in strange],
        "output": output,
    }
    listed = ", ".join(f"{images.names[k]} ({bits[k]:.3f})" for k in strange)
    answer.give(
        facts,
        f"{len(images)} images: {mean:.4f} ± {error:.4f} bits per dimension with {draws} draw(s) of noise "
        "each; "
        f"{facts['unit_nats']:.2f} nats with pixels in [0, 1]\nleast likely: {listed}",
    )


def check_pictures(output: str) -> None:
    """Raise unless images can be written to ``output``: .png, .npy or .npz."""
    path = Path(output)
    if path.suffix not in (".png", ".npy", ".npz"):
        raise ConfigError(
            f"-o {output!r} is not a file that images are written to; expected a picture of them all, "
            ".png, or the images themselves, .npy or .npz: name it so."
        )
    if path.is_dir() or not path.parent.is_dir():
        raise FileError(
            f"-o {output!r} cannot be written: it is a folder, or {str(path.parent)!r} is not one. Choose "
            "a file in a folder that exists."
        )
    if path.suffix == ".png":
        from diffeo.images.data.folder import pillow

        pillow()


def write_images(rows: Sequence[Images], output: str, columns: int | None = None) -> None:
    """Write rows of images: one picture of all, or an array (rows, images of a row, C, H, W)."""
    import numpy as np

    from diffeo.files.atomic import write_atomically
    from diffeo.images.pictures import grid, joined, magnification, save_picture

    path = Path(output)
    if path.suffix == ".png":
        images, across = (rows[0], columns) if len(rows) == 1 else joined(list(rows))
        save_picture(grid(images, across), path, magnified=magnification(images))
        return
    values = rows[0].pixels if len(rows) == 1 else np.stack([row.pixels for row in rows])
    with write_atomically(path) as file:
        if path.suffix == ".npy":
            np.save(file, values)
        else:
            labels = rows[0].labels
            np.savez(file, x=values) if labels is None else np.savez(file, x=values, y=labels)


def sample_images(
    answer: Answer,
    model: str,
    n: int,
    output: str,
    *,
    temperature: str | None,
    label: str | None,
    guidance: float | None,
    steps: int | None,
    seed: int,
    device: str,
) -> None:
    """Draw images: of one temperature, of several in rows, or with the way from noise to each."""
    from diffeo.images.showing import moulding, temperatures

    check_pictures(output)
    density = load_images(model, device)
    try:
        values = [float(part) for part in (temperature or "1").split(",")]
    except ValueError:
        raise ConfigError(
            f"--temperature {temperature!r} is not a number or a list of them; expected 0.7, or 0.5,0.7,1."
        ) from None
    if guidance is not None and (steps is not None or len(values) > 1):
        raise ConfigError(
            "--guidance goes with neither --moulding nor several temperatures; expected one grid: leave "
            "them out."
        )
    if steps is not None and len(values) > 1:
        raise ConfigError(
            f"--temperature {temperature!r} goes with --moulding as one number; expected 0.7, say."
        )
    if steps is not None:
        rows = moulding(density, n, steps, labels=label, temperature=values[0], seed=seed)
    elif len(values) > 1:
        rows = temperatures(density, n, values, labels=label, seed=seed)
    else:
        rows = [density.sample(n, labels=label, temperature=values[0], guidance=guidance or 0.0, seed=seed)]
    write_images(rows, output)
    facts: dict[str, Any] = {"images": n, "temperature": values, "seed": seed, "output": output}
    answer.give(facts, f"{n} images drawn with seed {seed}, written to {output}")
