"""The generative adversarial network: a generator of samples, whose density nobody knows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from diffeo.errors import DataError, NoDensityError, at_least, number, one_of
from diffeo.friends.friend import Array, Sizes, as_array, check_fit
from diffeo.friends.gan.losses import GAMES
from diffeo.friends.gan.training import train
from diffeo.friends.learning import Steps
from diffeo.friends.networks import check_networks, clamped, count_of, down, up
from diffeo.friends.protocol import Density, Report
from diffeo.friends.rows import RowsFriend
from diffeo.friends.units import Units, as_events
from diffeo.registry import register
from diffeo.training.seeds import derived_seed


@register("friends.GAN")
class GAN(RowsFriend):
    """x = g(z), z normal: a generator, trained against a critic that tells its draws from data.

    It draws samples, and has no density: ``log_prob`` raises
    :class:`~diffeo.errors.NoDensityError`. Nothing in its training says that every row of the data must be
    reachable, so it may leave modes out; coverage shows it, and no likelihood does.

    Stable by default: the critic's gradient is held down (by R1, or with "wgan-gp" by its penalty), the
    critic learns faster than the generator, and the generator that is kept is the moving average of its
    weights. Rows are standardised inside.

    Source: Goodfellow et al., *Generative adversarial nets* (2014), section 3; Lim & Ye, *Geometric GAN*
    (2017) for "hinge"; Gulrajani et al., *Improved training of Wasserstein GANs* (2017), algorithm 1;
    Mescheder, Geiger & Nowozin, *Which training methods for GANs do actually converge?* (2018), equation 9,
    for R1; Heusel et al. (2017) for two time scales.

    Args:
        loss: "non-saturating", "hinge" or "wgan-gp".
        latent: the numbers in z.
        hidden: widths of the layers (channels, if convolutional) of the critic, and back in the generator;
            None for (128, 128), or channels (32, 64).
        network: "mlp", "convolutional", or "auto": convolutional for images.
        critic_steps: steps of the critic for each of the generator; None for 1, and 3 for "wgan-gp".
        penalty: weight of the gradient penalty; None for 0.1, and 1 for "wgan-gp".
        max_steps: steps of the generator at most; None for 5,000, or as the time budget has it.
        batch_size: rows of a step.
        learning_rate: of the generator's Adam; the critic's is twice that.
        averaging: decay of the moving average of the generator's weights.
        seed: of everything that is drawn in training.
        fitted: what a model file says of the fit; leave it out.

    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = GAN(hidden=(8,), max_steps=5).fit(x)
    >>> model.density, model.sample(3).shape
    ('implicit', (3, 2))
    >>> model.log_prob(x)
    Traceback (most recent call last):
    diffeo.errors.NoDensityError: a GAN has no density, so log_prob(x) was asked in vain: ...
    """

    name = "generative adversarial network"
    density: Density = "implicit"

    def __init__(
        self,
        loss: str = "non-saturating",
        latent: int = 16,
        hidden: Sequence[int] | None = None,
        *,
        network: str = "auto",
        critic_steps: int | None = None,
        penalty: float | None = None,
        max_steps: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        averaging: float = 0.995,
        seed: int = 0,
        fitted: Sizes | None = None,
    ) -> None:
        super().__init__()
        one_of("loss", loss, GAMES)
        at_least("latent", latent, 1)
        check_networks(network, hidden)
        at_least("critic_steps", critic_steps, 1, optional=True)
        number("penalty", penalty, least=0, optional=True)
        number("learning_rate", learning_rate, above=0)
        number("averaging", averaging, least=0, below=1)
        self.loss, self.latent, self.hidden, self.network = loss, latent, hidden, network
        self.critic_steps = GAMES[loss].critic_steps if critic_steps is None else critic_steps
        self.penalty = GAMES[loss].penalty if penalty is None else penalty
        self.learning_rate, self.averaging = learning_rate, averaging
        self.steps, self.seed = Steps(max_steps, 5_000, batch_size, seed), seed
        self._restore(fitted)

    def _make(self, sizes: Sizes) -> None:
        event = sizes["event"]
        self._hold_units(math.prod(event))
        self.generator = nn.Sequential(up(event, self.latent, self.network, self.hidden), nn.Flatten(-2))
        self.critic = down(event, 1, self.network, self.hidden)

    def fit(self, x: Any, *, time_budget: float | None = None, report: Report | None = None) -> Self:
        """Play the game on rows (rows, columns) or images (rows, C, H, W).

        It ends after ``max_steps`` or the time budget: nothing in the game says when it is won. Ctrl-C ends
        it early, and keeps the generator so far. On one machine the same seed and ``max_steps`` give the
        same weights.

        Raises:
            DataError: the rows cannot be used.
            TrainingError: gradients were not finite again and again.
        """
        begun = time.perf_counter()
        check_fit(time_budget, report)
        rows, event = as_events(x)
        units = Units.of(rows)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(derived_seed(self.seed, "weights"))
            self._become(event=list(event))
            self._keep_units(units)
            facts = train(
                self, clamped(torch.from_numpy(units.to_standard(rows))), begun, time_budget, report
            )
        self._note(**facts)
        return self.eval()

    def log_prob(self, x: Any) -> Array:
        """Raise :class:`~diffeo.errors.NoDensityError`: there is no p(x) to be had from a generator."""
        raise NoDensityError(
            "a GAN has no density, so log_prob(x) was asked in vain: its generator maps noise z to "
            "samples, and p(x) would be an integral over every z that leads to x, which is never "
            "computed; where z has fewer numbers than x, it does not even exist. Expected a model with "
            "a density: fit a flow (exact) or diffeo.friends.VAE (a lower bound), or compare samples: "
            "model.sample(n)."
        )

    @torch.no_grad()
    def generate(self, z: Any) -> Array:
        """Return g(z) of each row of z, (rows, latent), in the data's units: (rows, *event)."""
        event = self._sizes()["event"]
        given = torch.as_tensor(np.asarray(z, dtype=np.float64)).float()
        if given.ndim != 2 or given.shape[1] != self.latent:
            raise DataError(
                f"z has shape {tuple(given.shape)}; expected (rows, {self.latent}): reshape it."
            )
        rows = self._units().to_data(as_array(self.generator(given)))
        return rows.reshape(len(rows), *event)

    @torch.no_grad()
    def criticise(self, x: Any) -> Array:
        """Return the critic's d(x) of each row: larger where it thinks more of data; it is no density."""
        rows, _ = as_events(x, self._sizes()["event"])
        seen: Tensor = clamped(torch.from_numpy(self._units().to_standard(rows)))
        return as_array(self.critic(seen).squeeze(-1))

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return n draws g(z), z normal: (n, *event)."""
        at_least("n", n, 0)
        at_least("seed", seed, 0)
        self._sizes()
        generator = torch.Generator().manual_seed(derived_seed(seed, "sample"))
        return self.generate(torch.randn(n, self.latent, generator=generator).numpy())

    def _count(self, sizes: Sizes) -> int:
        return count_of(self.generator, self.critic)

    def describe(self) -> str:
        """Return what was fitted, in a few words."""
        sizes = self._sizes()
        told = f"{self.loss} loss, latent {self.latent}"
        if "steps" in sizes:
            told += f", {int(sizes['steps'])} steps ({sizes['stopped_by']})"
        return f"{told}; it draws samples and has no density"
