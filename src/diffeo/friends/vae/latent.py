"""p(z) and q(z | x): the two densities of the latent variable, either of which may be a flow."""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.distributions import Base, StandardNormal
from diffeo.errors import ConfigError
from diffeo.flows import Flow
from diffeo.kernels.safe import bounded

#: |log σ| of the posterior is smoothly bounded by this.
_BOUND = 7.0


def check_latent(latent: int | None, prior: Flow | Base | None, posterior: Flow | None) -> int | None:
    """Return the latent dimension that the flows have, or ``latent``; or raise :class:`ConfigError`."""
    for name, given, kinds in (("prior", prior, (Flow, Base)), ("posterior", posterior, (Flow,))):
        if given is None:
            continue
        if not isinstance(given, kinds) or len(given.event_shape) != 1:
            shape = f" of events {tuple(given.event_shape)}" if isinstance(given, Flow | Base) else ""
            raise ConfigError(
                f"{name} is a {type(given).__name__}{shape}; expected a flow of vectors: pass one, as "
                "RealNVP(8)."
            )
        size = given.event_shape[0]
        if latent is not None and latent != size:
            raise ConfigError(
                f"{name} has events of {size} numbers, and the latent variable has {latent}; expected the "
                f"same: build it for {latent}, or pass latent={size}."
            )
        latent = size
    if isinstance(prior, Flow | Base) and prior.context_features:
        raise ConfigError(
            f"prior reads a context of {prior.context_features} features; expected none, since p(z) "
            "depends on nothing: build it without context."
        )
    if isinstance(posterior, Flow) and not posterior.context_features:
        raise ConfigError(
            "posterior reads no context; expected a flow with one, since q(z | x) depends on x: build it "
            "with context=16, say."
        )
    return latent


class Latent:
    """z = μ(x) + σ(x) u, with u normal or drawn from a flow that the encoder steers: u ~ f(· | c(x)).

    Then log q(z | x) = log p_u(u | c) − Σ log σ, exactly. It has no weights of its own: the flows belong to
    the model, which keeps them.
    """

    def __init__(self, size: int, prior: Flow | Base | None, posterior: Flow | None) -> None:
        self.size = size
        self.prior = StandardNormal(size) if prior is None else prior
        self.posterior = posterior
        self.normal = StandardNormal(size)

    @property
    def inputs(self) -> int:
        """Return how many numbers the encoder gives: μ, log σ and c."""
        return 2 * self.size + (0 if self.posterior is None else self.posterior.context_features)

    def posterior_of(self, encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return μ, log σ and c."""
        location, raw, context = encoded.tensor_split([self.size, 2 * self.size], -1)
        return location, bounded(raw, _BOUND), context

    def draw(self, encoded: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return k draws of z for each row, (k, rows, size), and log p(z) − log q(z | x) of each."""
        location, log_scale, context = self.posterior_of(encoded)
        if self.posterior is None:
            u = self.normal.sample((k, len(encoded)), generator=generator)
            log_u = self.normal.log_prob(u)
        else:
            u, log_u = self.posterior.rsample_and_log_prob((k,), context, generator=generator)
        z = location + log_scale.exp() * u
        return z, self.prior.log_prob(z) - log_u + log_scale.sum(-1)

    def centre(self, encoded: Tensor) -> Tensor:
        """Return where q(z | x) puts u = 0, or what its flow makes of noise 0."""
        location, log_scale, context = self.posterior_of(encoded)
        if self.posterior is None:
            return location
        u = self.posterior.decode(torch.zeros_like(location), context)
        return location + log_scale.exp() * u

    @torch.no_grad()
    def initialise(self, encoded: Tensor, generator: torch.Generator) -> None:
        """Set what flows read off data, off the first draws."""
        location, log_scale, context = self.posterior_of(encoded)
        u = self.normal.sample((len(encoded),), generator=generator)
        if self.posterior is not None:
            self.posterior.initialise(u, context)
        if isinstance(self.prior, Flow):
            self.prior.initialise(location + log_scale.exp() * u)
