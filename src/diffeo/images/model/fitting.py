"""Fitting a model to images: levels become rows of the engine, noise is new in every step."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.errors import ConfigError, DtypeError
from diffeo.images.data import Images
from diffeo.images.data.images import parted
from diffeo.images.model.cells import Dequantised
from diffeo.images.model.streaming import streamed
from diffeo.images.model.watching import watching
from diffeo.images.model.whitening import read_whitening
from diffeo.training import Evaluation, FitResult, TrainConfig, fit

if TYPE_CHECKING:
    from diffeo.images.model.density import ImageModel

#: What suits images: small batches, a slow average of the weights.
DEFAULTS = TrainConfig(batch_size=64, learning_rate=1e-3, averaging=0.999)


def fit_images(
    model: ImageModel,
    images: Images,
    *,
    validation: float | Images | None = 0.1,
    config: TrainConfig | None = None,
    flip: bool = False,
    drop: float = 0.0,
    checkpoint: str | PathLike[str] | None = None,
    log: Any = None,
    callback: Callable[[Evaluation], Any] | None = None,
    progress: bool | None = None,
    scratch: str | PathLike[str] | None = None,
) -> FitResult:
    """Fit a model to images by maximum likelihood, in place: θ* = argmin −(1/N) Σ E_u log p_θ(xₙ + u).

    Noise u is drawn anew whenever an image is seen; that of held-out images is drawn once, so that
    evaluations are comparable. A model with ``noise`` learns from x + u + σ ε, and is evaluated
    on x + u. The average of the weights (``config.averaging``) is what is evaluated and kept.

    Args:
        model: the model, changed in place.
        images: training images, with labels for a model with classes.
        validation: the share of images that is held out, or held-out images, or None.
        config: of the training; batches of 64, a rate of 1e-3 and an average of 0.999 if not given.
            ``accumulate`` divides a batch into parts, of which one is in memory at a time.
        flip: whether images are mirrored left to right at random.
        drop: the probability that an image learns without its class, for samples with guidance.
        checkpoint: a file for the training state, from which the same call goes on.
        log: where bits per dimension and grids of samples go while it runs: a folder for TensorBoard, or an
            object with its ``add_scalar`` and ``add_image``.
        callback: called with an :class:`~diffeo.training.Evaluation` after each; a true value stops the
            run.
        progress: whether to draw a bar; None draws one on a terminal.
        scratch: a folder to stream rows from, for images that do not fit in memory as floating numbers:
            they are written there once, 4 bytes a pixel, and read batch by batch. The file goes with the
            fit. An .npy of images is itself read page by page. On a GPU all rows are held there.

    Returns:
        The history, in nats per image of whole levels; see :func:`diffeo.images.bits_per_dim`.

    >>> from diffeo.images import image_model, read
    >>> model = image_model((1, 8, 8), 17, flow="nice", settings={"hidden": (16,)})
    >>> result = model.fit(read("digits")[:100], config=TrainConfig(max_steps=3))
    >>> result.steps
    3
    """
    if not isinstance(images, Images):
        raise DtypeError(
            f"images is a {type(images).__name__}; expected diffeo.images.Images: diffeo.images.read makes "
            "them."
        )
    if drop and not model.classes:
        raise ConfigError(
            f"drop={drop:g} for a model without classes; expected 0: there is none to leave out."
        )
    config = DEFAULTS if config is None else config
    if config.noise:
        raise ConfigError(
            f"config.noise={config.noise:g} would move levels before they are dequantised; expected 0: "
            "image_model(…, noise=σ), in levels, is noise that samples are freed from again."
        )
    held, rest, kept = images, None, None  # which images learn, and which are held out: all if None
    if isinstance(validation, Images):
        held = validation
    elif validation is not None:
        rest, kept = parted(len(images), validation, config.seed)
    dtype = model.flow.dtype
    with contextlib.ExitStack() as stack:
        pair: Any = None
        if validation is not None:
            pair = stack.enter_context(streamed(held, dtype, config.seed, scratch, kept))
            given = _context(model, held, kept)
            pair = pair if given is None else (pair, given)
        # The engine is shown dequantised rows: what it reads off data (ActNorm) is read off these.
        rows = stack.enter_context(streamed(images, dtype, config.seed + 1, scratch, rest))
        context = _context(model, images, rest)
        watch = stack.enter_context(watching(model, log, callback))
        if checkpoint is None or not Path(checkpoint).exists():  # what is gone on from has been read
            read_whitening(model.flow, rows, context, config.seed)
        # Pixels are in units of levels, and the flow's own preprocessing brings them to order one.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings(
            "ignore", message=".*nothing in the flow standardises it", category=UserWarning
        )
        result = fit(
            model.flow,
            rows,
            context=context,
            validation=pair,
            config=config,
            objective=Dequantised(flip, model.noise, drop),
            checkpoint=checkpoint,
            callback=watch,
            progress=progress,
        )
    model.eval()
    return result


def _context(model: ImageModel, images: Images, which: NDArray[np.int64] | None) -> Tensor | None:
    """Return the context of all images or of some, on the CPU."""
    found = model.context_of(images)
    if found is None:
        return None
    return found.cpu() if which is None else found.cpu()[torch.from_numpy(which)]
