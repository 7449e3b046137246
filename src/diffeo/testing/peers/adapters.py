"""Adapters: a peer's transform as a Bijection, a peer's flow as a Flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffeo.bijections import Bijection, Chain
from diffeo.distributions import Base
from diffeo.errors import ConfigError, at_least
from diffeo.flows import Flow
from diffeo.kernels.shapes import join_batch, sample_sizes
from diffeo.testing.peers.dialects import Dialect, Freia, Nflows, Normflows, Zuko, as_rows


def from_zuko(module: Any, context: int = 0) -> PeerFlow | PeerBijection | PeerChain:
    """Return a lazy flow of zuko as a Flow, a lazy transform as a Bijection.

    Args:
        module: as ``zuko.flows.NSF(2)``, or ``zuko.flows.MaskedAutoregressiveTransform(2)``.
        context: features of its context, 0 for none.

    Raises:
        ConfigError: ``module`` is no module, as the distribution that a call of a lazy flow returns.

    >>> import zuko
    >>> peer = zuko.flows.MAF(2, transforms=2)
    >>> flow, x = from_zuko(peer), torch.ones(3, 2)
    >>> torch.equal(flow.log_prob(x), peer().log_prob(x)), torch.equal(flow.encode(x), peer().transform(x))
    (True, True)
    """
    return _adapted(Zuko(), module, context, "zuko.flows.NSF(2), not zuko.flows.NSF(2)()")


def from_nflows(module: Any, context: int = 0) -> PeerFlow | PeerBijection | PeerChain:
    """Return a flow of nflows as a Flow, a transform as a Bijection.

    Args:
        module: an ``nflows.flows.Flow`` or an ``nflows.transforms.Transform`` of vectors.
        context: features of its context, 0 for none.

    Raises:
        ConfigError: ``module`` is no module.

    >>> from nflows.flows import SimpleRealNVP
    >>> flow = from_nflows(SimpleRealNVP(2, 8, 2, 1))
    >>> flow.sample((5,)).shape
    torch.Size([5, 2])
    """
    return _adapted(Nflows(), module, context, "an nflows.flows.Flow")


def from_normflows(module: Any, context: int = 0) -> PeerFlow | PeerBijection | PeerChain:
    """Return a flow of normflows as a Flow, a layer (its ``flows``) as a Bijection.

    Args:
        module: a ``NormalizingFlow``, a ``ConditionalNormalizingFlow`` or a layer of vectors.
        context: features of its context, 0 for none.

    Raises:
        ConfigError: ``module`` is no module.
    """
    return _adapted(Normflows(), module, context, "a normflows.NormalizingFlow")


def from_freia(module: Any, context: int = 0) -> PeerBijection | PeerChain:
    """Return an invertible module of FrEIA (one input, one output of the same shape) as a Bijection.

    FrEIA has no flows: ``Flow(StandardNormal(2), from_freia(inn))`` is the density that its documentation
    trains.

    Args:
        module: a ``SequenceINN``, a ``GraphINN`` or one of ``FrEIA.modules``.
        context: features of its one condition, 0 for none.

    Raises:
        ConfigError: ``module`` is no module.
    """
    dialect = Freia()
    _check(module, context, "a FrEIA.framework.SequenceINN")
    return _bijection(dialect, module, context, dialect.event_shape(module))


def _check(module: Any, context: int, example: str) -> None:
    at_least("context", context, 0)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"module is a {type(module).__name__}; expected a torch module: pass {example}.")


def _adapted(
    dialect: Dialect, module: Any, context: int, example: str
) -> PeerFlow | PeerBijection | PeerChain:
    _check(module, context, example)
    parts = dialect.parts(module)
    if parts is None:
        return _bijection(dialect, module, context, None)
    base = PeerBase(dialect, parts[0], context, _numbers(module))
    return PeerFlow(dialect, module, base, _bijection(dialect, parts[1], context, base.event_shape))


def _bijection(
    dialect: Dialect, module: Any, context: int, event_shape: Sequence[int] | None
) -> PeerBijection | PeerChain:
    whole = PeerBijection(dialect, module, context, event_shape)
    layers = [PeerBijection(dialect, layer, context, event_shape) for layer in dialect.layers(module)]
    return PeerChain(whole, layers) if layers else whole


class PeerBijection(Bijection):
    """A transform of another library in diffeo's directions, for batches of any shape."""

    def __init__(
        self, dialect: Dialect, module: nn.Module, context: int, event_shape: Sequence[int] | None
    ) -> None:
        super().__init__()
        self.__name__ = type(module).__name__
        self.dialect, self.module, self.context_features = dialect, module, context
        if event_shape is not None:
            self.event_shape, self.event_ndim = torch.Size(event_shape), len(event_shape)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and log │det ∂x/∂z│, from the peer's own call."""
        rows, given, batch = _rows(z, context, self.event_ndim)
        return _parted(self.dialect.forward(self.module, rows, given), batch)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z and log │det ∂z/∂x│, from the peer's own call."""
        rows, given, batch = _rows(x, context, self.event_ndim)
        return _parted(self.dialect.inverse(self.module, rows, given), batch)


class PeerChain(Chain):
    """A composed transform: its calls are the peer's own, its layers tell where a fault is."""

    in_layers = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, whole: PeerBijection, layers: Sequence[PeerBijection]) -> None:
        super().__init__(*layers)
        self.whole = whole
        if hasattr(whole, "event_shape"):
            self.event_shape = whole.event_shape

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and log │det ∂x/∂z│, from the peer's own composition."""
        return self.whole(z, context)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z and log │det ∂z/∂x│, from the peer's own composition."""
        return self.whole.inverse(x, context)


class PeerBase(Base):
    """A base distribution of another library; its event shape is that of a draw.

    ``like`` has the dtype and the device of the whole flow: a base may hold a constant in another one.
    """

    def __init__(self, dialect: Dialect, module: nn.Module, context: int, like: Tensor) -> None:
        given = like.new_zeros(1, context) if context else None
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            draw = dialect.base_sample(module, 1, given)
        super().__init__(draw.shape[1:])
        self._anchor = self._anchor.to(like)
        self.dialect, self.module, self.context_features = dialect, module, context

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the peer's log π(z)."""
        rows, given, batch = _rows(z, context, self.event_ndim)
        return self.dialect.base_log_prob(self.module, rows, given).reshape(batch)

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the peer's draws, in the model's dtype; peers take no generator, so its seed is lent."""
        batch = torch.Size(shape)
        with _Lent(generator, self.device):
            z = self.dialect.base_sample(self.module, batch.numel(), _each(batch, context))
        return z.to(self.dtype).reshape(*batch, *self.event_shape)


class PeerFlow(Flow):
    """A flow of another library: ``log_prob`` and ``sample`` are its own."""

    def __init__(
        self, dialect: Dialect, module: nn.Module, base: PeerBase, bijection: PeerBijection | PeerChain
    ) -> None:
        super().__init__(base, bijection)
        self.__name__ = f"{dialect.library} {type(module).__name__}"
        self.dialect, self.module = dialect, module

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the peer's own log p(x | context)."""
        self._check(x, context, "x")
        rows, given, batch = _rows(x, context, len(self.event_shape))
        return self.dialect.log_prob(self.module, rows, given).reshape(batch)

    def rsample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the peer's own draws."""
        return self.rsample_and_log_prob(shape, context, generator=generator)[0]

    def rsample_and_log_prob(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the peer's own draws and its own log p of them.

        Where the peer's sampler cannot draw in this dtype, its base and its transform are asked.
        """
        if self.dialect.draws_in_default_dtype and self.dtype != torch.get_default_dtype():
            return super().rsample_and_log_prob(shape, context, generator=generator)
        self._check_context(context)
        batch = torch.Size([*sample_sizes(shape), *(() if context is None else context.shape[:-1])])
        with _Lent(generator, self.base.device):
            x, log_prob = self.dialect.sample(self.module, batch.numel(), _each(batch, context))
        return x.reshape(*batch, *self.event_shape), log_prob.reshape(batch)


class _Lent:
    """Lends a generator's seed to torch's global state, and puts the state back; nothing without one."""

    def __init__(self, generator: torch.Generator | None, device: torch.device) -> None:
        self.generator = generator
        devices = [device] if device.type == "cuda" else []
        self.fork: Any = torch.random.fork_rng(devices=devices, enabled=generator is not None)

    def __enter__(self) -> None:
        self.fork.__enter__()
        if self.generator is not None:
            seed = torch.randint(2**62, (), generator=self.generator, device=self.generator.device)
            torch.manual_seed(int(seed))

    def __exit__(self, *raised: Any) -> None:
        self.fork.__exit__(*raised)


def _numbers(module: nn.Module) -> Tensor:
    """Return a parameter of a flow, or a buffer where it has none, for its dtype and device."""
    held = (*module.parameters(), *module.buffers(), torch.zeros(()))
    return next(number for number in held if number.is_floating_point())


def _rows(
    value: Tensor, context: Tensor | None, event_ndim: int
) -> tuple[Tensor, Tensor | None, torch.Size]:
    """Return rows (n, *event), their contexts (n, features), and the batch shape that they came in."""
    value, context = join_batch(value, context, event_ndim)
    split = value.ndim - event_ndim
    batch, event = value.shape[:split], value.shape[split:]
    given = None if context is None else context.reshape(-1, context.shape[-1])
    return value.reshape(batch.numel(), *event), given, batch


def _parted(moved: tuple[Tensor, Any], batch: torch.Size) -> tuple[Tensor, Tensor]:
    value, log_det = moved
    return value.reshape(*batch, *value.shape[1:]), as_rows(log_det, value).reshape(batch)


def _each(batch: torch.Size, context: Tensor | None) -> Tensor | None:
    """Return a row of context for each draw of a batch."""
    if context is None:
        return None
    return context.expand(*batch, context.shape[-1]).reshape(-1, context.shape[-1])
