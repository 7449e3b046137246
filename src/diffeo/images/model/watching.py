"""What is told while a model learns: bits per dimension, and grids of samples, by TensorBoard."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from diffeo.errors import ConfigError
from diffeo.images.model.bits import bits_per_dim
from diffeo.training import Evaluation

if TYPE_CHECKING:
    from diffeo.images.model.density import ImageModel

Callback = Callable[[Evaluation], Any]

#: Samples of a grid.
_SAMPLES = 16


@contextlib.contextmanager
def watching(model: ImageModel, log: Any, callback: Callback | None) -> Generator[Callback | None]:
    """Yield the function that :func:`diffeo.fit` calls after each evaluation; None if nobody watches.

    Args:
        model: what is trained. Grids are drawn with its own weights, not with their average.
        log: a folder for TensorBoard, an object with ``add_scalar`` and ``add_image``, or None.
        callback: the caller's own.
    """
    if log is None:
        yield callback
        return
    own = isinstance(log, str | os.PathLike)
    writer: Any = _tensorboard(log) if own else log
    if not (hasattr(writer, "add_scalar") and hasattr(writer, "add_image")):
        raise ConfigError(
            f"log is a {type(log).__name__}; expected a folder for TensorBoard, or an object with "
            "add_scalar and add_image, as torch.utils.tensorboard.SummaryWriter."
        )

    def watch(evaluation: Evaluation) -> Any:
        told(model, writer, evaluation)
        return None if callback is None else callback(evaluation)

    try:
        yield watch
    finally:
        if own:
            writer.close()


def told(model: ImageModel, writer: Any, evaluation: Evaluation) -> None:
    """Write an evaluation: bits per dimension of training and held-out images, the rate, a grid."""
    from diffeo.images.pictures import grid

    nats = {"train": evaluation.train_nats, "held_out": evaluation.held_out_nats}
    for name, value in nats.items():
        if math.isfinite(value):
            writer.add_scalar(
                f"bits_per_dim/{name}", bits_per_dim(-value, model.dimensions), evaluation.step
            )
    writer.add_scalar("learning_rate", evaluation.learning_rate, evaluation.step)
    if evaluation.step:  # before the first step there is only noise, and what reads its batch has read none
        training = model.flow.training  # without held-out images nothing else has turned dropout off
        model.flow.eval()
        picture = grid(model.sample(_SAMPLES, seed=0))
        model.flow.train(training)
        writer.add_image("samples", picture, evaluation.step, dataformats="HWC")


def _tensorboard(folder: Any) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            f"log={os.fspath(folder)!r} is written by TensorBoard, which is not installed; expected it: "
            "pip install 'diffeo[tensorboard]'. An object with add_scalar and add_image does as well."
        ) from error
    return SummaryWriter(os.fspath(folder))
