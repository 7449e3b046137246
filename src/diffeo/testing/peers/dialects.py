"""How each library is spoken to: which call goes from noise to data, where the layers are, who samples.

A dialect holds nothing: the modules that it speaks to are passed in, so that a copy of an adapter speaks
to its own copy of them. Rows are (n, *event), contexts (n, features) or None.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

#: A value and the log-determinant of the direction taken, as the peer returned it.
Moved = tuple[Tensor, Any]


class Dialect:
    """The calls of one library. A transform is any of its invertible modules.

    Attributes:
        library: its name.
        draws_in_default_dtype: whether its samplers draw in torch's default dtype whatever the model's
            is: then they are asked only for a model in that dtype.
    """

    library: str
    draws_in_default_dtype: bool = False

    def forward(self, transform: Any, z: Tensor, context: Tensor | None) -> Moved:
        """Return x and log │det ∂x/∂z│."""
        raise NotImplementedError  # abstract

    def inverse(self, transform: Any, x: Tensor, context: Tensor | None) -> Moved:
        """Return z and log │det ∂z/∂x│."""
        raise NotImplementedError  # abstract

    def layers(self, transform: Any) -> list[nn.Module]:
        """Return the transforms that this one is composed of, noise side first; none if it is one."""
        return []

    def event_shape(self, transform: Any) -> tuple[int, ...] | None:
        """Return the shape of an event, where a transform says it."""
        return None

    def parts(self, module: Any) -> tuple[nn.Module, nn.Module] | None:
        """Return a flow's base and its whole transform, or None for a module that is no flow."""
        return None

    def base_log_prob(self, base: Any, z: Tensor, context: Tensor | None) -> Tensor:
        """Return log π(z)."""
        raise NotImplementedError  # abstract

    def base_sample(self, base: Any, count: int, context: Tensor | None) -> Tensor:
        """Return ``count`` draws of π, one for each row of a context."""
        raise NotImplementedError  # abstract

    def log_prob(self, flow: Any, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the flow's own log p(x)."""
        raise NotImplementedError  # abstract

    def sample(self, flow: Any, count: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the flow's own draws and its own log p of them."""
        raise NotImplementedError  # abstract


class Zuko(Dialect):
    """A lazy module gives, for a context, a torch transform (data to noise) or distribution."""

    library = "zuko"

    def forward(self, transform: Any, z: Tensor, context: Tensor | None) -> Moved:
        """Return that of ``transform(context).inv``."""
        return self._moved(transform(context).inv, z)

    def inverse(self, transform: Any, x: Tensor, context: Tensor | None) -> Moved:
        """Return that of ``transform(context)``."""
        return self._moved(transform(context), x)

    @staticmethod
    def _moved(concrete: Any, value: Tensor) -> Moved:
        moved, log_det = concrete.call_and_ladj(value)
        # An elementwise transform has a log-slope for each element.
        return moved, log_det if concrete.domain.event_dim else log_det.flatten(1).sum(-1)

    def layers(self, transform: Any) -> list[nn.Module]:
        """Return those of a composed transform, which are listed from data to noise."""
        return list(transform.transforms)[::-1] if hasattr(transform, "transforms") else []

    def parts(self, module: Any) -> tuple[nn.Module, nn.Module] | None:
        """Return ``flow.base`` and ``flow.transform``."""
        return (module.base, module.transform) if hasattr(module, "base") else None

    def base_log_prob(self, base: Any, z: Tensor, context: Tensor | None) -> Tensor:
        """Return ``base(context).log_prob(z)``."""
        return base(context).log_prob(z)

    def base_sample(self, base: Any, count: int, context: Tensor | None) -> Tensor:
        """Return draws of ``base(context)``, which may or may not depend on the context's batch."""
        concrete = base(context)
        draw = concrete.rsample if concrete.has_rsample else concrete.sample
        return draw((count,) if len(concrete.batch_shape) == 0 else ())

    def log_prob(self, flow: Any, x: Tensor, context: Tensor | None) -> Tensor:
        """Return ``flow(context).log_prob(x)``."""
        return flow(context).log_prob(x)

    def sample(self, flow: Any, count: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``flow(context).rsample_and_log_prob()``."""
        return flow(context).rsample_and_log_prob((count,) if context is None else ())


class Nflows(Dialect):
    """A transform called is data to noise; its ``inverse`` is noise to data."""

    library = "nflows"
    draws_in_default_dtype = True

    def forward(self, transform: Any, z: Tensor, context: Tensor | None) -> Moved:
        """Return ``transform.inverse(z, context)``."""
        return transform.inverse(z, context)

    def inverse(self, transform: Any, x: Tensor, context: Tensor | None) -> Moved:
        """Return ``transform(x, context)``."""
        return transform(x, context)

    def layers(self, transform: Any) -> list[nn.Module]:
        """Return those of a ``CompositeTransform``, which are listed from data to noise."""
        composed = type(transform).__name__ == "CompositeTransform"
        return list(transform._transforms)[::-1] if composed else []

    def parts(self, module: Any) -> tuple[nn.Module, nn.Module] | None:
        """Return its distribution and its transform; behind an embedding both see the embedded context."""
        if not hasattr(module, "_distribution"):
            return None
        if isinstance(module._embedding_net, nn.Identity):
            return module._distribution, module._transform
        embedding = module._embedding_net
        return _Embedded(module._distribution, embedding), _Embedded(module._transform, embedding)

    def base_log_prob(self, base: Any, z: Tensor, context: Tensor | None) -> Tensor:
        """Return ``base.log_prob(z, context)``."""
        return base.log_prob(z, context)

    def base_sample(self, base: Any, count: int, context: Tensor | None) -> Tensor:
        """Return ``base.sample``: (count, *event), or (rows, 1, *event) with a context."""
        return base.sample(count) if context is None else base.sample(1, context).squeeze(1)

    def log_prob(self, flow: Any, x: Tensor, context: Tensor | None) -> Tensor:
        """Return ``flow.log_prob(x, context)``."""
        return flow.log_prob(x, context)

    def sample(self, flow: Any, count: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``flow.sample_and_log_prob``."""
        if context is None:
            return flow.sample_and_log_prob(count)
        x, log_prob = flow.sample_and_log_prob(1, context)
        return x.squeeze(1), log_prob.squeeze(1)


class _Embedded(nn.Module):
    """A distribution or transform of nflows that sees the context through the flow's embedding."""

    def __init__(self, module: Any, embedding: nn.Module) -> None:
        super().__init__()
        self.module, self.embedding = module, embedding

    def forward(self, x: Tensor, context: Tensor) -> Moved:
        return self.module(x, self.embedding(context))

    def inverse(self, z: Tensor, context: Tensor) -> Moved:
        return self.module.inverse(z, self.embedding(context))

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        return self.module.log_prob(z, self.embedding(context))

    def sample(self, count: int, context: Tensor) -> Tensor:
        return self.module.sample(count, self.embedding(context))


class Normflows(Dialect):
    """A flow called is noise to data; its ``inverse`` is data to noise."""

    library = "normflows"

    def forward(self, transform: Any, z: Tensor, context: Tensor | None) -> Moved:
        """Return ``forward_and_log_det`` of a whole flow, the call itself of a layer."""
        call = getattr(transform, "forward_and_log_det", transform)
        return call(z) if context is None else call(z, context=context)

    def inverse(self, transform: Any, x: Tensor, context: Tensor | None) -> Moved:
        """Return ``inverse_and_log_det`` of a whole flow, ``inverse`` of a layer."""
        call = getattr(transform, "inverse_and_log_det", None) or transform.inverse
        return call(x) if context is None else call(x, context=context)

    def layers(self, transform: Any) -> list[nn.Module]:
        """Return ``flows``, which are listed from noise to data."""
        return list(transform.flows) if hasattr(transform, "q0") else []

    def parts(self, module: Any) -> tuple[nn.Module, nn.Module] | None:
        """Return ``flow.q0`` and the flow, which is its own transform."""
        return (module.q0, module) if hasattr(module, "q0") else None

    def base_log_prob(self, base: Any, z: Tensor, context: Tensor | None) -> Tensor:
        """Return ``q0.log_prob(z)``."""
        return base.log_prob(z) if context is None else base.log_prob(z, context=context)

    def base_sample(self, base: Any, count: int, context: Tensor | None) -> Tensor:
        """Return the draws of ``q0(count)``."""
        return (base(count) if context is None else base(count, context=context))[0]

    def log_prob(self, flow: Any, x: Tensor, context: Tensor | None) -> Tensor:
        """Return ``flow.log_prob(x)``."""
        return flow.log_prob(x) if context is None else flow.log_prob(x, context=context)

    def sample(self, flow: Any, count: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return ``flow.sample(count)``: draws and their log-density."""
        return flow.sample(count) if context is None else flow.sample(count, context=context)


class Freia(Dialect):
    """A module called is data to noise, with ``rev=True`` noise to data; its values are lists."""

    library = "FrEIA"

    def forward(self, transform: Any, z: Tensor, context: Tensor | None) -> Moved:
        """Return that of ``rev=True``."""
        return self._moved(transform, z, context, True)

    def inverse(self, transform: Any, x: Tensor, context: Tensor | None) -> Moved:
        """Return that of ``rev=False``."""
        return self._moved(transform, x, context, False)

    @staticmethod
    def _moved(transform: Any, value: Tensor, context: Tensor | None, rev: bool) -> Moved:
        # Modules without conditions do not take the argument.
        given = {} if context is None else {"c": [context]}
        wanted = torch.is_grad_enabled()
        # An IResNetLayer differentiates inside its call, and marks a leaf that it is given.
        with torch.enable_grad():
            moved, log_det = transform([value.clone()], rev=rev, jac=True, **given)
        moved = moved if isinstance(moved, Tensor) else moved[0]
        if wanted:
            return moved, log_det
        return moved.detach(), log_det.detach() if isinstance(log_det, Tensor) else log_det

    def layers(self, transform: Any) -> list[nn.Module]:
        """Return those of an unconditional ``SequenceINN``, which are listed from data to noise."""
        conditions = getattr(transform, "conditions", None)
        plain = conditions is not None and all(index is None for index in conditions)
        return list(transform.module_list)[::-1] if plain and hasattr(transform, "shapes") else []

    def event_shape(self, transform: Any) -> tuple[int, ...] | None:
        """Return the shape of its one input; ``dims_in`` lists shapes, in some modules just the one."""
        first = transform.dims_in[0]
        return tuple(transform.dims_in) if isinstance(first, int) else tuple(first)


def as_rows(log_det: Any, moved: Tensor) -> Tensor:
    """Return a log-determinant of each row, where a peer returned one number for all of them."""
    number = log_det if isinstance(log_det, Tensor) else torch.as_tensor(log_det, dtype=moved.dtype)
    return number.reshape(()).expand(len(moved)) if number.numel() == 1 else number
