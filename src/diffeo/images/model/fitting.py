"""Fitting a model to images: levels become rows of the engine, noise is new in every step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffeo.errors import ConfigError, DataError, DtypeError
from diffeo.images.data import Images
from diffeo.images.model.cells import Dequantised, with_noise
from diffeo.images.model.watching import watching
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
    checkpoint: str | PathLike[str] | None = None,
    log: Any = None,
    callback: Callable[[Evaluation], Any] | None = None,
    progress: bool | None = None,
) -> FitResult:
    """Fit a model to images by maximum likelihood, in place: θ* = argmin −(1/N) Σ E_u log p_θ(xₙ + u).

    Noise u is drawn anew whenever an image is seen; that of held-out images is drawn once, so that
    evaluations are comparable. The average of the weights (``config.averaging``) is what is evaluated and
    kept.

    Args:
        model: the model, changed in place.
        images: training images, with labels for a model with classes.
        validation: the share of images that is held out, or held-out images, or None.
        config: of the training; batches of 64, a rate of 1e-3 and an average of 0.999 if not given.
            ``accumulate`` divides a batch into parts, of which one is in memory at a time.
        flip: whether images are mirrored left to right at random.
        checkpoint: a file for the training state, from which the same call goes on.
        log: where bits per dimension and grids of samples go while it runs: a folder for TensorBoard, or an
            object with its ``add_scalar`` and ``add_image``.
        callback: called with an :class:`~diffeo.training.Evaluation` after each; a true value stops the
            run.
        progress: whether to draw a bar; None draws one on a terminal.

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
    config = DEFAULTS if config is None else config
    held: Images | None = None
    if isinstance(validation, Images):
        held = validation
    elif validation is not None:
        images, held = images.split(validation, seed=config.seed)
    x, context = model.rows(images)
    pair: Any = None
    if held is not None:
        rows, given = model.rows(held)
        noisy = with_noise(rows, torch.Generator().manual_seed(config.seed))
        pair = noisy if given is None else (noisy, given)
    # The engine is shown dequantised rows: what it reads off data (ActNorm) is read off these.
    noisy = with_noise(x, torch.Generator().manual_seed(config.seed + 1))
    with watching(model, log, callback) as watch, warnings.catch_warnings():
        # Pixels are in units of levels, and the flow's own preprocessing brings them to order one.
        warnings.filterwarnings(
            "ignore", message=".*nothing in the flow standardises it", category=UserWarning
        )
        result = fit(
            model.flow,
            noisy,
            context=context,
            validation=pair,
            config=config,
            objective=Dequantised(flip),
            checkpoint=checkpoint,
            callback=watch,
            progress=progress,
        )
    model.eval()
    return result


def rows_of(images: Images, dtype: torch.dtype) -> Tensor:
    """Return whole levels as rows of a dtype, on the CPU."""
    if dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            f"the model computes in {dtype}; expected float32 or float64: pass model.float()."
        )
    if len(images) < 2:
        raise DataError(
            f"there are {len(images)} image(s); expected more: a density needs some to learn from."
        )
    return torch.from_numpy(images.pixels.astype(np.float64 if dtype == torch.float64 else np.float32))
