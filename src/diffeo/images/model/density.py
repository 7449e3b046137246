"""The density of images: a flow of dequantised pixels, and what it says of whole levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffeo.errors import ConfigError, DataError, ShapeError, at_least, number
from diffeo.files import save
from diffeo.flows import Flow
from diffeo.images.data import Images
from diffeo.images.model.bits import bits_per_dim, nats_in_unit
from diffeo.images.model.cells import with_noise
from diffeo.images.model.circle import along
from diffeo.images.model.classes import numbers_of
from diffeo.kernels.shapes import check_event
from diffeo.kernels.transfers import sent
from diffeo.registry import Part, register
from diffeo.training import Evaluation, FitResult, TrainConfig

#: Images that pass through the flow at a time.
_ROWS = 256

Numbers = NDArray[np.float64]
Given = Images | NDArray[Any]


@register("images.ImageModel")
class ImageModel(Part, nn.Module):
    """The distribution P of images of L whole levels that a density p of dequantised pixels makes.

    P(x) = ∫ p(x + u) du over u in [0, 1)ᴰ, which is bounded from below by K draws of u:

        log P(x) ≥ log (1/K) Σₖ p(x + uₖ)   (in expectation, rising to log P(x) with K)

    Every figure is of whole levels, through the whole chain of preprocessing: a model with a logit and one
    without are comparable.

    Args:
        flow: the density of x + u in [0, L)ᴰ, events (C, H, W), its preprocessing included: pixels to
            numbers of order one, perhaps :class:`~diffeo.images.Dequantisation`.
        levels: L.
        classes: the names of the classes that it is conditional on; the flow's context is then one-hot.
        noise: σ, in levels, of the Gaussian noise that :meth:`fit` adds to x + u and :meth:`sample` takes
            away again. The flow must then have a density everywhere, as one with no logit has.

    Raises:
        ConfigError: the flow has events of another kind, or as many context features as there are classes
            is not what it has.

    >>> from diffeo.images import image_model, read
    >>> model = image_model((1, 8, 8), 17, settings={"width": 4, "blocks": 1}).eval()
    >>> model.bits_per_dim(read("digits")[:3]).shape, model.sample(2).pixels.shape
    ((3,), (2, 1, 8, 8))
    """

    def __init__(
        self, flow: Flow, levels: int = 256, classes: Sequence[str] = (), noise: float = 0.0
    ) -> None:
        super().__init__()
        if not isinstance(flow, Flow) or len(flow.event_shape) != 3:
            found = tuple(flow.event_shape) if isinstance(flow, Flow) else type(flow).__name__
            raise ConfigError(
                f"flow is of {found}; expected a Flow of events (channels, height, width): "
                "diffeo.images.image_model puts one together."
            )
        at_least("levels", levels, 2)
        if levels > 256:
            raise ConfigError(f"levels={levels} is more than 256; expected eight bits at most.")
        if flow.context_features != len(classes):
            raise ConfigError(
                f"flow has {flow.context_features} context features, classes {len(classes)} names; "
                "expected as many: build the flow with context=len(classes)."
            )
        number("noise", noise, least=0)
        self.flow, self.levels, self.classes, self.noise = flow, levels, tuple(classes), float(noise)

    # -- what it is ------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (C, H, W)."""
        channels, height, width = self.flow.event_shape
        return channels, height, width

    @property
    def dimensions(self) -> int:
        """Return D = C H W."""
        return math.prod(self.shape)

    def as_flow(self) -> Flow:
        """Return the density of dequantised pixels, x + u in [0, L)."""
        return self.flow

    # -- likelihood ------------------------------------------------------------------------------

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p of dequantised pixels x + u, in nats: what a fit maximises."""
        return self.flow.log_prob(x, context)

    @torch.no_grad()
    def log_prob(self, images: Given, labels: Any = None, *, draws: int = 1, seed: int = 0) -> Numbers:
        """Return the bound of log P(x) of each image from ``draws`` draws of noise, in nats.

        Args:
            images: :class:`Images`, or a uint8 array (N, C, H, W).
            labels: the class of each, for a model with classes; those of ``images`` if not given.
            draws: K. The bound rises with it, by much less than the noise of a fit for good models.
            seed: of the noise. The same images in the same order have the same figures.

        Raises:
            ShapeError, DataError: the images or labels are not of the model's kind.
        """
        at_least("draws", draws, 1)
        at_least("seed", seed, 0)
        given = self._checked(images)
        context = self._context(given, labels)
        found = torch.empty((draws, len(given)), dtype=torch.float64, device=self.flow.base.device)
        for start in range(0, len(given), _ROWS):
            part = slice(start, start + _ROWS)
            cells = self._cells(given[part])
            for k in range(draws):
                generator = _noise_of(seed, k, start, self.flow.base.device)
                some = None if context is None else context[part]
                found[k, part] = self.flow.log_prob(with_noise(cells, generator), some)
        return (found.logsumexp(0) - math.log(draws)).cpu().numpy()

    def bits_per_dim(self, images: Given, labels: Any = None, *, draws: int = 1, seed: int = 0) -> Numbers:
        """Return the bits per dimension of each image, −log P(x) / (D log 2), by :meth:`log_prob`."""
        return bits_per_dim(self.log_prob(images, labels, draws=draws, seed=seed), self.dimensions)

    def unit_nats(self, images: Given, labels: Any = None, *, draws: int = 1, seed: int = 0) -> Numbers:
        """Return log-densities with pixels in [0, 1], in nats: the unit of the NICE paper."""
        log_p = self.log_prob(images, labels, draws=draws, seed=seed)
        return nats_in_unit(log_p, self.dimensions, self.levels)

    # -- samples ---------------------------------------------------------------------------------

    def sample(
        self, n: int, *, labels: Any = None, temperature: float = 1.0, guidance: float = 0.0, seed: int = 0
    ) -> Images:
        """Return ``n`` images; see :func:`diffeo.images.model.sampling.drawn`."""
        from diffeo.images.model.sampling import drawn

        return drawn(self, n, labels=labels, temperature=temperature, guidance=guidance, seed=seed)

    # -- there and back --------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, images: Given, labels: Any = None) -> Tensor:
        """Return the noise z of each image, taken at the middle of its cell, x + ½: (N, C, H, W)."""
        given = self._checked(images)
        context = self._context(given, labels)
        parts = [
            self.flow.encode(
                self._cells(given[start : start + _ROWS]) + 0.5,
                None if context is None else context[start : start + _ROWS],
            )
            for start in range(0, len(given), _ROWS)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, z: Tensor, labels: Any = None) -> Images:
        """Return the images of noise z, ⌊f(z)⌋ within 0 to L − 1: those that were encoded to it.

        Args:
            z: shape (N, C, H, W), of the flow's dtype.
            labels: the class of each, for a model with classes.
        """
        check_event("z", z, self.flow.event_shape)
        if z.ndim != 4:
            raise ShapeError(f"z has shape {tuple(z.shape)}; expected (images, channels, height, width).")
        given = self.numbers_of_classes(len(z), labels)
        context = None if given is None else self.context_of_classes(given)
        parts = [
            self.flow.decode(
                z[start : start + _ROWS], None if context is None else context[start : start + _ROWS]
            )
            for start in range(0, len(z), _ROWS)
        ]
        return self.whole(torch.cat(parts) if parts else z, given)

    def whole(self, x: Tensor, classes: NDArray[np.int64] | None = None) -> Images:
        """Return ⌊x⌋ within 0 to L − 1 as images, with the numbers of their classes if they have any."""
        levels = torch.nan_to_num(x.floor(), nan=0.0).clamp(0, self.levels - 1)
        return Images(levels.cpu().numpy().astype(np.uint8), self.levels, classes, classes=self.classes)

    def reconstruct(self, images: Given, labels: Any = None) -> Images:
        """Return decode(encode(x)), which is x but where float32 cannot bring it back."""
        given = self._checked(images)
        chosen = self._labels_of(given, labels)
        return self.decode(self.encode(given, chosen), chosen)

    def interpolate(self, first: Given, last: Given, steps: int = 8, labels: Any = None) -> list[Images]:
        """Return images on the way between pairs, ``steps`` for each pair, its ends included.

        The way is the great circle through both latents, whose norm goes from one's to the other's.

        Args:
            first: where the ways begin.
            last: where they end, as many.
            steps: images of a way, at least 2.
            labels: the class that both ends are encoded with, for a model with classes; the first ones' own
                if not given.
        """
        at_least("steps", steps, 2)
        begin, end = self._checked(first), self._checked(last)
        if len(begin) != len(end):
            raise ShapeError(f"first has {len(begin)} images, last {len(end)}; expected as many: pairs.")
        chosen = self._labels_of(begin, labels)
        a, b = self.encode(begin, chosen), self.encode(end, chosen)
        ways = [along(a, b, k / (steps - 1)) for k in range(steps)]
        frames = [self.decode(z, chosen).pixels for z in ways]
        return [Images(np.stack(way), self.levels) for way in zip(*frames, strict=True)]

    # -- fit and file ----------------------------------------------------------------------------

    def fit(
        self,
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
        """Fit the density to images, in place; see :func:`diffeo.images.model.fitting.fit_images`."""
        from diffeo.images.model.fitting import fit_images

        return fit_images(
            self,
            images,
            validation=validation,
            config=config,
            flip=flip,
            drop=drop,
            checkpoint=checkpoint,
            log=log,
            callback=callback,
            progress=progress,
            scratch=scratch,
        )

    def context_of(self, images: Images, labels: Any = None) -> Tensor | None:
        """Return the flow's context for images, their one-hot classes; None for a model without classes."""
        return self._context(self._checked(images), labels)

    def context_of_classes(self, labels: NDArray[np.int64]) -> Tensor:
        """Return the one-hot rows of the numbers of classes."""
        rows = torch.eye(len(self.classes), dtype=self.flow.dtype, device=self.flow.base.device)
        return rows[torch.from_numpy(np.ascontiguousarray(labels)).to(self.flow.base.device)]

    def numbers_of_classes(self, n: int, labels: Any = None) -> NDArray[np.int64] | None:
        """Return the class of each of ``n`` images, all in turn if none is given; None without classes."""
        if not self.classes:
            self._labels_of(Images(np.zeros((1, *self.shape), np.uint8), self.levels), labels)
            return None
        return np.arange(n) % len(self.classes) if labels is None else numbers_of(labels, n, self.classes)

    def save(self, path: str | PathLike[str], extra: dict[str, Any] | None = None) -> None:
        """Write one ``.safetensors`` file that :func:`diffeo.load` reads; ``extra`` is plain JSON data."""
        save(self, path, extra)

    # -- inside ----------------------------------------------------------------------------------

    def _checked(self, images: Given) -> Images:
        found = images if isinstance(images, Images) else Images(images, self.levels)
        if found.shape != self.shape:
            raise ShapeError(
                f"images are of shape {found.shape}; expected {self.shape}, which the model is of: resize "
                "or convert them, or fit a model to these."
            )
        if found.levels < self.levels:
            raise DataError(
                f"images have {found.levels} levels; expected {self.levels}, those of the model: pass "
                f"Images(pixels, {self.levels}) if theirs are of the same scale."
            )
        if found.levels > self.levels and int(found.pixels.max()) >= self.levels:
            raise DataError(
                f"images have levels up to {int(found.pixels.max())}; expected 0 to {self.levels - 1}, the "
                f"{self.levels} levels of the model: reduce them."
            )
        return found

    def _cells(self, images: Images) -> Tensor:
        cells = torch.from_numpy(images.pixels.astype(np.float32))
        return sent(cells, self.flow.base.device, self.flow.dtype)

    def _labels_of(self, images: Images, labels: Any) -> Any:
        if not self.classes:
            if labels is not None:
                raise ConfigError(
                    "labels were given to a model without classes; expected none: leave them out."
                )
            return None
        if labels is None and images.labels is None:
            raise DataError(
                f"the images have no labels, and the model is conditional on {len(self.classes)} classes; "
                "expected a class for each: pass labels=, or images in sub-folders named as the classes."
            )
        if labels is None and images.classes:  # numbers count the images' own classes, which have names
            return np.asarray(images.classes)[images.labels]
        return images.labels if labels is None else labels

    def _context(self, images: Images, labels: Any) -> Tensor | None:
        """Return the one-hot classes, or None for a model without classes."""
        chosen = self._labels_of(images, labels)
        return (
            None
            if chosen is None
            else self.context_of_classes(numbers_of(chosen, len(images), self.classes))
        )


def _noise_of(seed: int, draw: int, start: int, device: torch.device) -> torch.Generator:
    """Return the generator of a draw for the images from ``start`` on."""
    mixed = np.random.SeedSequence([seed, draw, start]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed) >> 1)
