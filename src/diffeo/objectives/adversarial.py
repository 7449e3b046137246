"""Distances that a second network finds: Jensen–Shannon and Wasserstein by an adversary."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.errors import ConfigError, at_least, number, one_of
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch, Objective
from diffeo.objectives.samples import drawn_beside
from diffeo.objectives.target import with_value

KINDS = ("jensen-shannon", "wasserstein")


class Adversarial(Objective):
    """A flow trained as a generator, by a game with a network d(x) that tells draws from data.

    - "jensen-shannon": d makes ½ E log σ(d(x)) + ½ E log σ(−d(y)) + log 2 large, a lower bound of the
      Jensen–Shannon divergence of data x and draws y, in nats (0 to log 2); that is the loss's value. The
      flow's gradient is that of −E log σ(d(y)), which does not vanish while d wins.
    - "wasserstein": d makes E d(x) − E d(y) − λ E(‖∇d‖ − 1)² large, the gradient at points between x and y;
      the loss is E d(x) − E d(y), in units of the data: the distance W₁ when d is at its best, and up to
      W₁² / 2λ more, since the penalty is a soft one.

    It needs no density of the flow. That is its charm and its weakness: the flow may leave modes out, and
    ``fit``'s held-out nats show it; a term of maximum likelihood (:class:`Weighted`) mends it.

    State: d and its optimizer (Adam) belong to this object. They are made by the first ``loss`` and take
    ``steps`` steps in every one. :func:`diffeo.fit` begins each run with a copy that has none (``begun``),
    so runs do not disturb one another. They are in no checkpoint: ``fit`` refuses one.

    Source: Goodfellow et al., *Generative adversarial nets* (2014), equation 1 and section 3; Gulrajani,
    Ahmed, Arjovsky, Dumoulin & Courville, *Improved training of Wasserstein GANs* (2017), equation 3 and
    algorithm 1; for flows, Grover, Dhar & Ermon, *Flow-GAN* (2018), section 3.

    Args:
        kind: the distance.
        hidden: widths of d.
        steps: steps of d for each of the flow; None for 1, and 5 with Wasserstein.
        learning_rate: of d.
        penalty: λ.

    Raises:
        ConfigError: an argument is out of its range; or, by ``loss``, the base has no differentiable draws.
        ShapeError: by ``loss``, fewer than two rows.

    >>> from diffeo.flows import RealNVP
    >>> _ = torch.manual_seed(0)
    >>> game, flow = Adversarial("wasserstein", hidden=(16,)), RealNVP(2)
    >>> game.loss(flow, Batch(torch.randn(64, 2) + 3)).shape, game.begun().adversary is None
    (torch.Size([]), True)
    """

    unit: ClassVar[str] = "nats"
    resumable: ClassVar[bool] = False

    def __init__(
        self,
        kind: str = "jensen-shannon",
        *,
        hidden: Sequence[int] = (128, 128),
        steps: int | None = None,
        learning_rate: float = 5e-4,
        penalty: float = 10.0,
    ) -> None:
        one_of("kind", kind, KINDS)
        if not isinstance(hidden, list | tuple) or not hidden:
            raise ConfigError(f"hidden={hidden!r:.60} must be a list of widths, as (128, 128).")
        for k, width in enumerate(hidden):
            at_least(f"hidden[{k}]", width, 1)
        at_least("steps", steps, 1, optional=True)
        number("learning_rate", learning_rate, above=0)
        number("penalty", penalty, least=0)
        self.kind, self.hidden, self.learning_rate, self.penalty = (
            kind,
            tuple(hidden),
            learning_rate,
            penalty,
        )
        self.steps = steps if steps is not None else (5 if kind == "wasserstein" else 1)
        if kind == "wasserstein":
            self.unit = "distance between rows"  # pyright: ignore[reportAttributeAccessIssue]
        self.adversary: nn.Module | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    def __repr__(self) -> str:
        return (
            f"Adversarial({self.kind!r}, hidden={self.hidden}, steps={self.steps}, "
            f"learning_rate={self.learning_rate}, penalty={self.penalty})"
        )

    def begun(self) -> Objective:
        """Return the same settings without a state."""
        settings: dict[str, Any] = {
            name: getattr(self, name) for name in ("hidden", "steps", "learning_rate", "penalty")
        }
        return Adversarial(self.kind, **settings)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Take the adversary's steps, and return the distance that it finds."""
        x, y = drawn_beside(flow, batch)
        adversary, optimizer = self._opponents(x)
        for k in range(self.steps):
            if k:
                with torch.no_grad():
                    _, fresh = drawn_beside(flow, batch)
            else:
                fresh = y.detach()
            with torch.enable_grad():
                optimizer.zero_grad(set_to_none=True)
                cost = self._cost(adversary, x, fresh)
                cost.backward()
            if bool(cost.isfinite()):  # a bad draw must not end the game: fit skips the step
                optimizer.step()
        # The adversary's parameters get no gradient from the flow's step.
        adversary.requires_grad_(False)
        try:
            on_data, on_draws = adversary(x).squeeze(-1), adversary(y).squeeze(-1)
        finally:
            adversary.requires_grad_(True)
        if self.kind == "wasserstein":
            return on_data.mean() - on_draws.mean()
        told = F.logsigmoid(on_data).mean() + F.logsigmoid(-on_draws).mean()
        return with_value(told / 2 + math.log(2), -F.logsigmoid(on_draws).mean())

    def _cost(self, adversary: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return what the adversary makes small."""
        on_data, on_draws = adversary(x).squeeze(-1), adversary(y).squeeze(-1)
        if self.kind == "jensen-shannon":
            return -(F.logsigmoid(on_data).mean() + F.logsigmoid(-on_draws).mean())
        share = torch.rand(len(x), 1, dtype=x.dtype, device=x.device)
        between = torch.lerp(x, y, share).requires_grad_()
        (slope,) = torch.autograd.grad(adversary(between).sum(), between, create_graph=True)
        size = (slope.square().sum(-1) + 1e-12).sqrt()
        return on_draws.mean() - on_data.mean() + self.penalty * (size - 1).square().mean()

    def _opponents(self, x: Tensor) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return the network and its optimizer, made at the first call for rows like ``x``."""
        if self.adversary is None or self._optimizer is None:
            sizes, layers = (x.shape[-1], *self.hidden), list[nn.Module]()
            for a, b in itertools.pairwise(sizes):
                layers += [nn.Linear(a, b), nn.SiLU()]
            adversary = nn.Sequential(*layers, nn.Linear(sizes[-1], 1)).to(x)
            betas = (0.0, 0.9) if self.kind == "wasserstein" else (0.5, 0.9)
            self.adversary = adversary
            self._optimizer = torch.optim.Adam(adversary.parameters(), lr=self.learning_rate, betas=betas)
        return self.adversary, self._optimizer
