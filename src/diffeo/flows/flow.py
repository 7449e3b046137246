"""A flow: log p(x) = log π(z) + log │det ∂z/∂x│, z = f⁻¹(x)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, Self, overload

import torch
from torch import Tensor, nn

from diffeo.bijections import Bijection, Chain
from diffeo.bijections.chain import layers_of
from diffeo.bijections.rounding import TRUST, Decoded, predicted_error
from diffeo.conditioners import Conditioner
from diffeo.distributions import Base
from diffeo.errors import ConfigError, a_part
from diffeo.flows.given import GivenFlow
from diffeo.flows.rows import through
from diffeo.kernels.shapes import (
    check_broadcast,
    check_context,
    check_event,
    check_tensor,
    sample_sizes,
)
from diffeo.registry import Part, register

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

    from diffeo.flows.torch_distribution import FlowDistribution


@register("flows.Flow")
class Flow(Part, nn.Module):
    """The density of x = f(z), z ~ π.

    log p(x | c) = log π(f⁻¹(x; c)) + log │det ∂f⁻¹(x; c)/∂x│, exactly, in nats.

    Shapes: ``x`` and ``z`` are ``batch + event_shape``; ``context`` is ``batch + (context_features,)`` and
    broadcasts against ``x``'s batch; ``log_prob`` returns the joint batch shape. ``sample(shape, context)``
    returns ``shape + context_batch + event_shape``, the rule of torch.distributions.

    A row with NaN or infinity gets NaN or −inf and disturbs neither the value nor any gradient of another
    row. The one exception is a layer that reads its batch while it trains (BatchNorm): ``eval()``, which
    ``fit`` and ``load`` call, makes each row its own again.

    Args:
        base: the density π(z).
        bijection: the map f from noise to data, of the same event dimensions.

    Either may read the context, or both, then of the same size; a part that needs none ignores it.

    Raises:
        ConfigError: base and bijection do not fit one another, or read contexts of different sizes.

    >>> from diffeo.bijections import Scale
    >>> from diffeo.distributions import StandardNormal
    >>> flow = Flow(StandardNormal(2), Scale(2))
    >>> flow.log_prob(torch.zeros(3, 2)).shape, flow.sample((5,)).shape
    (torch.Size([3]), torch.Size([5, 2]))
    """

    def __init__(self, base: Base, bijection: Bijection) -> None:
        super().__init__()
        if not isinstance(base, Base):
            raise ConfigError(
                f"base is a {type(base).__name__}; expected a diffeo base: pass one, as StandardNormal(2). "
                "A torch.distributions object goes in as diffeo.distributions.Wrapped(distribution)."
            )
        a_part("bijection", bijection, Bijection, "Scale(2)")
        if base.event_ndim != bijection.event_ndim:
            raise ConfigError(
                f"base has events of {base.event_ndim} dimension(s), bijection of "
                f"{bijection.event_ndim}; expected the same: build both for one shape."
            )
        for name, layer in layers_of(bijection):
            shape = getattr(layer, "event_shape", base.event_shape)
            if shape != base.event_shape:
                raise ConfigError(
                    f"bijection layer {name} has events of shape {tuple(shape)}, the base of shape "
                    f"{tuple(base.event_shape)}; expected the same: build both for one shape."
                )
        self.base, self.bijection = base, bijection
        self._context_features = _contexts_agree(base, bijection)

    # -- what it is ------------------------------------------------------------------------------

    @property
    def event_shape(self) -> torch.Size:
        """Return the shape of one x."""
        return self.base.event_shape

    @property
    def context_features(self) -> int:
        """Return the features of a context row, 0 for a flow without context."""
        return self._context_features

    @property
    def dtype(self) -> torch.dtype:
        """Return the floating dtype that this flow computes in."""
        return self.base.dtype

    # -- density ---------------------------------------------------------------------------------

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(x | context), in nats.

        Raises:
            ShapeError: ``x`` does not end in ``event_shape``, or the context does not fit.
            DtypeError: ``x`` or the context has another dtype than the flow.
        """
        z, log_det = self._inverse(x, context)
        return self.base.log_prob(z, context) + log_det

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return ``log_prob``: calling the module computes the density, as DDP and compile expect."""
        return self.log_prob(x, context)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return z = f⁻¹(x; context)."""
        return self._inverse(x, context)[0]

    @overload
    def decode(
        self, z: Tensor, context: Tensor | None = None, *, check: Literal[False] = False
    ) -> Tensor: ...
    @overload
    def decode(
        self,
        z: Tensor,
        context: Tensor | None = None,
        *,
        check: Literal[True],
        repair: bool = False,
    ) -> Decoded: ...
    def decode(
        self,
        z: Tensor,
        context: Tensor | None = None,
        *,
        check: bool = False,
        repair: bool = False,
    ) -> Tensor | Decoded:
        """Return x = f(z; context).

        With ``check=True``, return ``(value, predicted_error, trusted)``: the error of the round trip
        z → x → z that this precision predicts for each row (:mod:`diffeo.bijections.rounding`), and whether
        it is below 1e-4. With ``repair=True`` the rows that are not trusted are computed in float64.
        """
        self._check(z, context, "z")
        x, _ = through(self, z, context, inverse=False)
        if not check:
            return x
        error = predicted_error(self.bijection, z.expand_as(x), context)
        trusted = error < TRUST
        if repair:
            exact = copy.deepcopy(self.bijection).double()
            with torch.no_grad():
                better, _ = exact(z.double(), None if context is None else context.double())
            keep = trusted.reshape(trusted.shape + (1,) * len(self.event_shape))
            x = torch.where(keep, x, better.to(x.dtype))
        return Decoded(x, error, trusted)

    # -- samples ---------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return draws x ~ p(· | context), without gradients."""
        return self.rsample(shape, context, generator=generator)

    @torch.no_grad()
    def sample_and_log_prob(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return draws and their log p, from one pass, without gradients."""
        return self.rsample_and_log_prob(shape, context, generator=generator)

    def rsample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return draws x = f(z) that carry gradients towards the parameters and the context."""
        z = self._draw(shape, context, generator)
        return through(self, z, context, inverse=False)[0]

    def rsample_and_log_prob(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return draws and log p(x) = log π(z) − log │det ∂x/∂z│, with gradients."""
        z = self._draw(shape, context, generator)
        x, log_det = through(self, z, context, inverse=False)
        return x, self.base.log_prob(z, context) - log_det

    # -- other views -----------------------------------------------------------------------------

    def given(self, context: Tensor) -> GivenFlow:
        """Return this flow with the context bound: ``flow.given(c).log_prob(x)``."""
        self._check_context(context)
        return GivenFlow(self, context)

    def distribution(self, context: Tensor | None = None) -> FlowDistribution:
        """Return a ``torch.distributions.Distribution`` with ``batch_shape`` that of the context.

        >>> from diffeo.flows import RealNVP
        >>> p = RealNVP(2, couplings=2).eval().distribution()
        >>> p.log_prob(p.sample((4,))).shape
        torch.Size([4])
        """
        from diffeo.flows.torch_distribution import FlowDistribution

        self._check_context(context)
        return FlowDistribution(self, context)

    def then(self, bijection: Bijection) -> Flow:
        """Return a flow that applies ``bijection`` after this one's, nearer the data.

        It shares this flow's parameters. ``flow.then(Standardize(2))`` states its density in raw units.
        """
        a_part("bijection", bijection, Bijection, "Standardize(2)")
        return Flow(self.base, Chain(self.bijection, bijection))

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Set what is read off data (Standardize, ActNorm, …) from training rows, where not yet set.

        The bijection first; then a base that reads data (Mixture), off z = f⁻¹(x).
        """
        self._check(x, context, "x")
        self.bijection.initialise(x, context)
        if self.base.reads_data:
            self.base.initialise(self.bijection.inverse(x, context)[0], context)
        return self

    def plot(
        self,
        x: Tensor | None = None,
        context: Tensor | None = None,
        *,
        columns: Sequence[str] | None = None,
        seed: int = 0,
    ) -> Picture:
        """Draw what the flow knows, with matplotlib: see :func:`diffeo.flows.picture.picture`.

        >>> from diffeo.flows import RealNVP
        >>> picture = RealNVP(2, couplings=2).eval().plot()
        >>> [ax.get_title() for ax in picture.axes]
        ['p(x), exact', 'draws', 'log p of draws']
        """
        from diffeo.flows.picture import picture

        return picture(self, x, context, columns=columns, seed=seed)

    def save(self, path: str | PathLike[str]) -> None:
        """Write one ``.safetensors`` file that :func:`diffeo.load` reads; see :mod:`diffeo.files`."""
        from diffeo.files import save

        save(self, path)

    # -- inside ----------------------------------------------------------------------------------

    def _check(self, x: Tensor, context: Tensor | None, name: str) -> None:
        check_tensor(name, x, self.dtype, self.base.device)
        check_event(name, x, self.event_shape)
        self._check_context(context)
        if context is not None:
            check_broadcast(x.shape[: x.ndim - len(self.event_shape)], context.shape[:-1])

    def _check_context(self, context: Tensor | None) -> None:
        if context is not None:
            check_tensor("context", context, self.dtype, self.base.device)
        check_context(context, self.context_features)

    def _inverse(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        self._check(x, context, "x")
        return through(self, x, context, inverse=True)

    def _draw(
        self, shape: Sequence[int], context: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        self._check_context(context)
        sizes = sample_sizes(shape)
        if generator is not None and not isinstance(generator, torch.Generator):
            raise ConfigError(
                f"generator is a {type(generator).__name__}; expected a torch.Generator: pass "
                "torch.Generator().manual_seed(0)."
            )
        batch = sizes if context is None else (*sizes, *context.shape[:-1])
        return self.base.sample(batch, context, generator=generator)


def _contexts_agree(base: Base, bijection: Bijection) -> int:
    """Return the features of the one context that the parts read, or raise; 0 where none reads any."""
    readers: dict[int, str] = {}
    for place, part in (("base", base), ("bijection", bijection)):
        for name, module in part.named_modules(prefix=place):
            if size := _context_read(module):
                readers.setdefault(size, f"{name} reads {size}")
    if len(readers) > 1:
        raise ConfigError(
            f"the parts read contexts of {' and '.join(map(str, readers))} features "
            f"({', '.join(readers.values())}); expected one size: a flow has one context, which all "
            "parts that need it read whole. Build them with the same context=…."
        )
    return next(iter(readers), 0)


def _context_read(module: nn.Module) -> int:
    """Return the features of the context that a part itself reads; 0 for what is no part."""
    if isinstance(module, Conditioner):
        return module.context
    return module.context_features if isinstance(module, Base | Bijection) else 0
