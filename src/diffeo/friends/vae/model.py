"""The variational autoencoder: p(x) = ∫ p(x | z) p(z) dz, known by a bound from below."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from diffeo.distributions import Base
from diffeo.errors import DataError, at_least, number, one_of
from diffeo.flows import Flow
from diffeo.friends.friend import Array, Sizes, as_array, check_fit
from diffeo.friends.learning import Steps
from diffeo.friends.networks import check_networks, clamped, count_of, down, up
from diffeo.friends.protocol import Density, Report
from diffeo.friends.rows import RowsFriend
from diffeo.friends.units import Units, as_events
from diffeo.friends.vae.latent import Latent, check_latent
from diffeo.friends.vae.likelihood import DECODERS, NOISES, likelihood
from diffeo.friends.vae.training import train
from diffeo.registry import from_spec, register, to_spec
from diffeo.training.seeds import derived_seed

#: Numbers that are made at a time: rows times draws times what the decoder gives.
_AT_ONCE = 2**21


@register("friends.VAE")
class VAE(RowsFriend):
    """A decoder p(x | z) and an encoder q(z | x), trained together by the evidence lower bound:

        log p(x) ≥ E_q [log p(x | z) + log p(z) − log q(z | x)].

    p(x) itself is an integral over z that nobody computes. ``log_prob`` therefore gives the importance
    weighted bound of k = ``draws`` draws, log 1/k Σᵢ p(x, zᵢ) / q(zᵢ | x): below log p(x) on average, and
    the nearer the larger k is. Rows are standardised inside, and the bound is stated in their own units;
    for the decoders "bernoulli" and "categorical" it is of the mass of the cells' values, in nats.

    Source: Kingma & Welling, *Auto-encoding variational Bayes* (2014), equation 3; Burda, Grosse &
    Salakhutdinov, *Importance weighted autoencoders* (2016), equation 8; flows in the posterior: Rezende &
    Mohamed (2015), equation 15.

    Args:
        latent: the numbers in z; None for those of the flows, else 16, or as many as x has if fewer.
        hidden: widths of the layers (channels, if convolutional) of the encoder, and back in the decoder;
            None for (128, 128), or channels (32, 64). () makes both linear.
        network: "mlp", "convolutional", or "auto": convolutional for images.
        decoder: "gaussian", "bernoulli" for cells of 0 and 1, "categorical" for whole numbers from 0.
        noise: the scale of the Gaussian decoder: one learned number ("shared"), one for each column
            ("columns"), or a function of z ("local").
        floor: the least scale, in standard deviations of a column.
        levels: values of a categorical cell; None for those of the training rows.
        posterior: a flow of z with context: q(z | x) beyond a normal. ``fit`` makes one like it.
        prior: a flow or a base of z: p(z) beyond the standard normal. ``fit`` makes one like it.
        draws: k of ``log_prob``.
        max_steps: steps of training at most; None for 4,000, or as the time budget has it.
        batch_size: rows of a step.
        learning_rate: of Adam, at its highest.
        patience: looks at the held-out rows (a tenth) without gain after which training stops; None: never.
        seed: of everything that is drawn in training.
        fitted: what a model file says of the fit; leave it out.

    >>> x = np.random.default_rng(0).normal(size=(200, 2)).cumsum(1)
    >>> model = VAE(latent=1, hidden=(8,), max_steps=20).fit(x)
    >>> model.density, model.log_prob(x).shape, model.encode(x).shape, model.sample(3).shape
    ('lower bound', (200,), (200, 1), (3, 2))
    """

    name = "variational autoencoder"
    density: Density = "lower bound"

    def __init__(
        self,
        latent: int | None = None,
        hidden: Sequence[int] | None = None,
        *,
        network: str = "auto",
        decoder: str = "gaussian",
        noise: str = "columns",
        floor: float = 0.01,
        levels: int | None = None,
        posterior: Flow | None = None,
        prior: Flow | Base | None = None,
        draws: int = 64,
        max_steps: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        patience: int | None = 20,
        seed: int = 0,
        fitted: Sizes | None = None,
    ) -> None:
        super().__init__()
        at_least("latent", latent, 1, optional=True)
        check_networks(network, hidden)
        one_of("decoder", decoder, DECODERS)
        one_of("noise", noise, NOISES)
        number("floor", floor, above=0, most=1)
        at_least("levels", levels, 2, optional=True)
        at_least("draws", draws, 1)
        at_least("patience", patience, 1, optional=True)
        number("learning_rate", learning_rate, above=0)
        self.latent = check_latent(latent, prior, posterior)
        self.hidden, self.network, self.decoder_kind = hidden, network, decoder
        self.noise, self.floor, self.levels = noise, floor, levels
        self.posterior, self.prior = posterior, prior
        self.draws, self.learning_rate, self.patience = draws, learning_rate, patience
        self.steps, self.seed = Steps(max_steps, 4_000, batch_size, seed), seed
        self._restore(fitted)

    def _make(self, sizes: Sizes) -> None:
        event, size = sizes["event"], math.prod(sizes["event"])
        self._hold_units(size)
        self.latents = Latent(sizes["latent"], self.prior, self.posterior)
        self.likelihood = likelihood(self.decoder_kind, size, self.noise, self.floor, sizes["levels"])
        self.encoder = down(event, self.latents.inputs, self.network, self.hidden)
        self.decoder = up(event, sizes["latent"], self.network, self.hidden, each=self.likelihood.each)

    # -- fitting ---------------------------------------------------------------------------------

    def fit(self, x: Any, *, time_budget: float | None = None, report: Report | None = None) -> Self:
        """Train on rows (rows, columns) or images (rows, C, H, W), a tenth of them held out.

        The weights of the best held-out bound are kept. Ctrl-C ends it early, and keeps them too. On one
        machine the same seed and ``max_steps`` give the same weights; with a time budget, the clock has its
        say.

        Raises:
            DataError: the rows cannot be used, or are no cells of the decoder's kind.
            TrainingError: gradients were not finite again and again.
        """
        begun = time.perf_counter()
        check_fit(time_budget, report)
        rows, event = as_events(x)
        units, levels = Units.of(rows), self._levels(rows)
        latent = self.latent or min(16, rows.shape[1])
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(derived_seed(self.seed, "weights"))
            # Flows are made anew: what was given stays as it was, and a second fit starts as the first.
            self.prior = None if self.prior is None else from_spec(to_spec(self.prior))
            self.posterior = None if self.posterior is None else from_spec(to_spec(self.posterior))
            self._become(event=list(event), latent=latent, levels=levels)
            self._keep_units(units)
            given = torch.from_numpy(rows)
            facts = train(self, self._seen(given), self._scored(given), begun, time_budget, report)
        self._note(**facts)
        return self.eval()

    def _levels(self, rows: Array) -> int | None:
        """Return how many values a cell has, after a look at the rows; None for the Gaussian."""
        if self.decoder_kind == "gaussian":
            return None
        levels = 2 if self.decoder_kind == "bernoulli" else self.levels or max(2, int(rows.max()) + 1)
        bad = ~_is_level(rows, levels)
        if bad.any():
            row = int(np.argmax(bad.any(1)))
            found = rows[row][bad[row]][0]
            raise DataError(
                f"x has {found:g} in row {row}; the {self.decoder_kind} decoder expected whole numbers "
                f"from 0 to {levels - 1}: round them, or pass decoder='gaussian'."
            )
        return levels

    # -- the bound -------------------------------------------------------------------------------

    def weights(
        self, seen: Tensor, scored: Tensor, k: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return log p(x | z) and log p(z) − log q(z | x) of k draws for each row: (k, rows) each.

        Args:
            seen: rows as the encoder sees them.
            scored: rows as the decoder's density takes them.
            k: draws of z for each row.
            generator: what draws them.
        """
        z, of_z = self.latents.draw(self.encoder(seen), k, generator)
        return self.likelihood.log_prob(self.decoder(z), scored), of_z

    def elbo(self, x: Any, k: int = 16, seed: int = 0) -> Array:
        """Return the evidence lower bound of each row, in nats, by the mean of k draws."""
        return self._bound(x, k, seed, lambda log_w: log_w.mean(0))

    def iwae_bound(self, x: Any, k: int = 64, seed: int = 0) -> Array:
        """Return log 1/k Σᵢ p(x, zᵢ) / q(zᵢ | x) of each row, in nats: below log p(x) on average.

        Its draws follow from the seed, and from where a row stands in ``x``.
        """
        return self._bound(x, k, seed, lambda log_w: torch.logsumexp(log_w, 0) - math.log(k))

    def log_prob(self, x: Any) -> Array:
        """Return ``iwae_bound(x, draws)``: a bound of log p(x) from below, on average."""
        return self.iwae_bound(x, self.draws)

    @torch.no_grad()
    def _bound(self, x: Any, k: int, seed: int, of: Callable[[Tensor], Tensor]) -> Array:
        at_least("k", k, 1)
        at_least("seed", seed, 0)
        rows = self._rows(x)
        possible = torch.ones(len(rows), dtype=torch.bool)
        if self.likelihood.discrete:
            possible = torch.from_numpy(_is_level(rows.numpy(), self._sizes()["levels"]).all(1))
            rows = torch.where(possible[:, None], rows, 0.0)
        generator = torch.Generator().manual_seed(derived_seed(seed, "bound"))
        found: list[Tensor] = []
        for part in rows.split(max(1, _AT_ONCE // (k * rows.shape[1] * self.likelihood.each))):
            of_x, of_z = self.weights(self._seen(part), self._scored(part), k, generator)
            found.append(of(of_x.double() + of_z.double()))
        log_det = 0.0 if self.likelihood.discrete else self._units().log_det
        return as_array(torch.where(possible, torch.cat(found) + log_det, -torch.inf))

    # -- there and back --------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, x: Any) -> Array:
        """Return the centre of q(z | x) of each row: (rows, latent)."""
        return as_array(self.latents.centre(self.encoder(self._seen(self._rows(x)))))

    @torch.no_grad()
    def decode(self, z: Any) -> Array:
        """Return E[x | z] of each row of z, (rows, latent), in the data's units: (rows, *event)."""
        latent = self._sizes()["latent"]
        given = torch.as_tensor(np.asarray(z, dtype=np.float64)).float()
        if given.ndim != 2 or given.shape[1] != latent:
            raise DataError(f"z has shape {tuple(given.shape)}; expected (rows, {latent}): reshape it.")
        return self._in_data(self.likelihood.mean(self.decoder(given)))

    @torch.no_grad()
    def sample(self, n: int, seed: int = 0) -> Array:
        """Return n draws of x ~ p(x | z), z ~ p(z): (n, *event), with the decoder's noise."""
        at_least("n", n, 0)
        at_least("seed", seed, 0)
        self._sizes()
        generator = torch.Generator().manual_seed(derived_seed(seed, "sample"))
        z = self.latents.prior.sample((n,), generator=generator)
        return self._in_data(self.likelihood.draw(self.decoder(z), generator))

    # -- inside ----------------------------------------------------------------------------------

    def _rows(self, x: Any) -> Tensor:
        return torch.from_numpy(as_events(x, self._sizes()["event"])[0])

    def _seen(self, rows: Tensor) -> Tensor:
        """Return rows as the encoder sees them: standardised."""
        return clamped((rows - self.get_buffer("mean")) / self.get_buffer("scale"))

    def _scored(self, rows: Tensor) -> Tensor:
        """Return rows as the decoder's density takes them: standardised, or cells as they are."""
        if self.likelihood.discrete:
            return rows.float()
        return (rows - self.get_buffer("mean")) / self.get_buffer("scale")

    def _in_data(self, found: Tensor) -> Array:
        """Return what the decoder gave in the data's units and shape."""
        rows = as_array(found)
        rows = rows if self.likelihood.discrete else self._units().to_data(rows)
        return rows.reshape(len(rows), *self._sizes()["event"])

    def _count(self, sizes: Sizes) -> int:
        return count_of(self)

    def describe(self) -> str:
        """Return what was fitted, and what ``log_prob`` is."""
        sizes = self._sizes()
        told = f"latent {sizes['latent']}, {self.decoder_kind} decoder"
        told += ", flow prior" if self.prior is not None else ""
        told += ", flow posterior" if self.posterior is not None else ""
        if "steps" in sizes:
            told += f", {int(sizes['steps'])} steps ({sizes['stopped_by']})"
        return f"{told}; log p is bounded from below by {self.draws} importance-weighted draws"


def _is_level(rows: Array, levels: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which cells are whole numbers from 0 to levels − 1."""
    return (rows == np.floor(rows)) & (rows >= 0) & (rows < levels)
