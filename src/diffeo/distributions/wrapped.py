"""Any torch.distributions object as a base."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributions as td
from torch.distributions import Distribution, constraints, transforms

from diffeo.distributions.base import Base
from diffeo.errors import ConfigError, one_of
from diffeo.kernels.safe import safe_limit, sum_event
from diffeo.kernels.tiles import in_tiles
from diffeo.registry import register

#: By name: a name out of a file is looked up here, and not among torch's functions and modules.
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.int32,
        torch.int64,
        torch.bool,
    )
}


@register("distributions.Wrapped")
class Wrapped(Base):
    """π(z) = any ``torch.distributions.Distribution``, its parameters held as buffers.

    The distribution is taken apart into its class and its arguments, recursively (``Independent``,
    ``MixtureSameFamily`` and ``TransformedDistribution`` are nested ones), so that it follows the
    module's device and dtype and can be saved. A batch shape is read as part of the event: pass
    ``Normal(torch.zeros(3), 1.0)`` for three independent features. A class that torch does not ship
    is used as it is: it stays on its device, and a model with it cannot be saved, which saving says.

    The formulas are torch's own: far out, where they square what no longer can be squared, they round to
    −inf. Values outside the support get −inf (torch.distributions alone gives a finite number for some).

    Args:
        distribution: a torch.distributions object, or the description that a model file holds.

    >>> base = Wrapped(td.StudentT(torch.tensor([3.0, 3.0])))
    >>> base.event_shape, base.log_prob(torch.zeros(4, 2)).shape
    (torch.Size([2]), torch.Size([4]))
    """

    @classmethod
    def recorded(cls, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Record the description of the distribution in place of the object."""
        given = arguments["distribution"]
        tree = describe(given) if isinstance(given, Distribution) else given
        return None if tree is None else {"distribution": tree}

    def __init__(self, distribution: Any) -> None:
        is_object = isinstance(distribution, Distribution)
        if not is_object and not isinstance(distribution, dict):
            raise ConfigError(
                f"distribution is a {type(distribution).__name__}; "
                "expected a torch.distributions.Distribution: pass one, as Normal(torch.zeros(2), 1.0)."
            )
        tree: Any = describe(distribution) if is_object else distribution
        built: Any = distribution if tree is None else build(tree, _from_list)
        if built.support.is_discrete:
            raise ConfigError(
                f"distribution={type(built).__name__} is discrete; a flow needs a continuous base: choose "
                "one, as Normal."
            )
        shape = built.batch_shape + built.event_shape
        if not is_object and shape.numel() > 1000 + 16 * _numbers(tree):
            raise ConfigError(
                f"distribution={type(built).__name__} has events of shape {tuple(shape)}, far larger than "
                "its parameters; expected parameters of about the event's shape."
            )
        super().__init__(shape or (1,))
        self._scalar = not shape
        self._custom: Any = distribution if tree is None else None
        self._tree = {} if tree is None else _hold(self, tree)
        self.register_buffer("_spare", _point_of(built), persistent=False)

    @property
    def distribution(self) -> Distribution:
        """Return the distribution, on the module's device and in its dtype, batch folded into event."""
        whole: Any = self._custom if self._custom is not None else build(self._tree, self._buffer_of)
        batch_ndim = len(whole.batch_shape)
        return td.Independent(whole, batch_ndim, validate_args=False) if batch_ndim else whole

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log π(z)."""
        if z.numel() == 0:  # no rows: torch's check of a support cannot reshape them
            return sum_event(z, self.event_ndim)
        distribution = self.distribution
        value = z.squeeze(-1) if self._scalar else z
        fixed, event_ndim = value.detach(), len(distribution.event_shape)
        broken, finite = fixed.isnan(), fixed.isfinite()
        near = fixed.abs() <= safe_limit(fixed.dtype)
        if event_ndim:
            broken = broken.flatten(-event_ndim).any(-1)
            finite, near = (ok.flatten(-event_ndim).all(-1) for ok in (finite, near))
        support: Any = distribution.support or constraints.real
        inside = support.check(fixed) & finite
        # The formula sees only points of the support: others are exchanged for one that is. Far out, where
        # its derivative may overflow, a point goes through without one.
        wide = inside.shape + (1,) * event_ndim
        chosen = torch.where(near.reshape(wide), value, fixed)
        chosen = torch.where(inside.reshape(wide), chosen, self.get_buffer("_spare"))
        density = self._density(distribution, chosen)
        outside = torch.full_like(density, -torch.inf).masked_fill(broken, torch.nan)
        return torch.where(inside, density, outside)

    @staticmethod
    def _density(distribution: Any, chosen: Tensor) -> Tensor:
        """Return log π, with the same bits in every batch: torch's own may solve linear systems."""

        def column(rows: Tensor, context: Tensor | None) -> Tensor:
            return distribution.log_prob(rows).unsqueeze(-1)

        if len(distribution.event_shape) != 1:
            return distribution.log_prob(chosen)
        return in_tiles(column, chosen).squeeze(-1)

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return draws; torch.distributions takes no generator, so its seed is lent for the call."""
        distribution = self.distribution
        draw = distribution.rsample if distribution.has_rsample else distribution.sample
        if generator is None:
            z = draw(torch.Size(shape))
        else:
            seed = torch.randint(2**62, (), generator=generator, device=generator.device)
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(int(seed))
                z = draw(torch.Size(shape))
        return z.unsqueeze(-1) if self._scalar else z

    def _buffer_of(self, name: Any) -> Tensor:
        return self._buffers[name]  # pyright: ignore[reportReturnType]


def describe(part: Any) -> Any:
    """Return a torch distribution or transform as plain values, or None if its class is not torch's."""
    if isinstance(part, bool | int | float | str) or part is None:
        return part
    if isinstance(part, torch.Size):
        return list(part)
    if isinstance(part, Tensor):
        plain = part.detach().cpu()
        return {"tensor": plain.tolist(), "dtype": str(plain.dtype).removeprefix("torch.")}
    if isinstance(part, list | tuple):
        items = [describe(item) for item in part]
        return None if any(item is None for item in items) else items
    name = type(part).__name__
    if _torch_class(name) is not type(part):
        return None
    arguments: dict[str, Any] = {}
    for argument in inspect.signature(type(part)).parameters.values():
        found = _attribute(part, argument.name)
        if argument.name in ("validate_args", "cache_size") or found is None:
            continue
        described = describe(found)
        if described is None:
            return None
        arguments[argument.name] = described
    return {"class": name, "args": _one_parametrisation(arguments)}


def build(tree: Any, tensor_of: Any) -> Any:
    """Build what :func:`describe` described; only classes of torch.distributions are called."""
    if isinstance(tree, list):
        return [build(item, tensor_of) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "tensor" in tree or "buffer" in tree:
        return tensor_of(tree.get("buffer", tree))
    cls = _torch_class(tree.get("class", ""))
    if cls is None:
        raise ConfigError(f"{tree.get('class')!r} is not a class of torch.distributions.")
    arguments = {name: build(value, tensor_of) for name, value in tree["args"].items()}
    if issubclass(cls, Distribution):
        arguments["validate_args"] = False
    return cls(**arguments)


def _point_of(distribution: Any) -> Tensor:
    """Return an ordinary point of the support, batch shape included: the image of 0."""
    support = distribution.support
    if isinstance(distribution, td.MixtureSameFamily):
        support = distribution.component_distribution.support
    shape = distribution.batch_shape + distribution.event_shape
    parameters = [value for value in vars(distribution).values() if isinstance(value, Tensor)]
    try:
        map_onto = td.transform_to(support)
    except NotImplementedError:  # a class of the user's own, with a support of its own
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return distribution.sample()
    like = parameters[0] if parameters else torch.zeros(())
    zero = torch.zeros(map_onto.inverse_shape(shape), dtype=like.dtype, device=like.device)
    return map_onto(zero)


def _torch_class(name: str) -> Any:
    if name not in td.__all__ and name not in transforms.__all__:
        return None
    found = getattr(td, name, None) or getattr(transforms, name, None)
    wanted = (Distribution, transforms.Transform)
    return found if isinstance(found, type) and issubclass(found, wanted) else None


def _attribute(part: Any, name: str) -> Any:
    # torch keeps some constructor arguments under another name.
    renamed = {
        "base_distribution": "base_dist",
        "event_dim": "_event_dim",
        "parts": "parts",
        "mixture_distribution": "_mixture_distribution",
        "component_distribution": "_component_distribution",
    }
    for candidate in (renamed.get(name, name), name):
        if candidate in vars(part) or not hasattr(part, candidate):
            found = vars(part).get(candidate)
        else:
            found = getattr(part, candidate)
        if found is not None:
            return found
    return None


def _one_parametrisation(arguments: dict[str, Any]) -> dict[str, Any]:
    """Keep one of the equivalent arguments that torch derives from each other."""
    for kept, derived in (
        ("scale_tril", ("covariance_matrix", "precision_matrix")),
        ("probs", ("logits",)),
    ):
        if kept in arguments:
            arguments = {k: v for k, v in arguments.items() if k not in derived}
    return arguments


def _numbers(tree: Any) -> int:
    """Return how many numbers the tensors of a description hold."""
    if isinstance(tree, dict):
        return sum(_numbers(item) for item in tree.values())
    return sum(_numbers(item) for item in tree) if isinstance(tree, list) else 1


def _from_list(tree: dict[str, Any]) -> Tensor:
    # On the CPU also while a file is looked at on the meta device: torch's constructors read values.
    one_of("dtype", tree["dtype"], _DTYPES)
    return torch.tensor(tree["tensor"], dtype=_DTYPES[tree["dtype"]], device="cpu")


def _hold(module: nn.Module, tree: Any) -> Any:
    """Return ``tree`` with each tensor moved into a buffer of ``module``."""
    if isinstance(tree, list):
        return [_hold(module, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "tensor" in tree:
        name = f"parameter_{sum(key.startswith('parameter_') for key, _ in module.named_buffers())}"
        module.register_buffer(name, _from_list(tree))
        return {"buffer": name}
    # In sorted order: buffers are numbered as they come, and a file sorts its keys.
    return {**tree, "args": {name: _hold(module, value) for name, value in sorted(tree["args"].items())}}
