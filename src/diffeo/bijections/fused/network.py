"""What the compiled kernels are told of a conditioner."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diffeo.conditioners import MLP, Conditioner, MaskedMLP, MaskedResidualMLP, ResidualMLP
from diffeo.conditioners.conditioner import ACTIVATIONS, Linear
from diffeo.conditioners.masked import MaskedLinear
from diffeo.kernels.native import Network

_NAMES = {kind: name for name, kind in ACTIVATIONS.items()}


def listened_to(module: Any) -> bool:
    """Return whether a module has hooks, which the kernels would not call."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def network_of(conditioner: Conditioner, *, training: bool) -> tuple[Network, list[Tensor]] | None:
    """Return a conditioner's steps and the parameters that they read, or None for another thing.

    One that drops units while it trains is not taken, nor one on a circle, nor one without inputs.
    """
    if type(conditioner) not in (MLP, MaskedMLP, ResidualMLP, MaskedResidualMLP):
        return None
    modules: Any = getattr(conditioner, "layers", None)
    if modules is None or conditioner.period is not None or any(map(listened_to, (conditioner, modules))):
        return None
    steps: list[tuple[str, int]] = []
    layers: list[nn.Linear] = []
    names: set[str] = set()
    if not _read(modules, steps, layers, names, training=training) or len(names) > 1:
        return None
    direct: Any = getattr(conditioner, "direct", None)
    if direct is not None:
        steps.append(("direct", len(layers)))
        layers.append(direct)
    parameters: list[Tensor] = []
    for layer in layers:
        parameters += [layer.weight, layer.bias]
    if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in parameters):
        return None
    sizes = tuple((layer.in_features, layer.out_features) for layer in layers)
    masks = tuple(layer.mask.numpy() if isinstance(layer, MaskedLinear) else None for layer in layers)
    return Network(tuple(steps), sizes, masks, names.pop() if names else "relu"), parameters


def _read(
    modules: Any, steps: list[tuple[str, int]], layers: list[nn.Linear], names: set[str], *, training: bool
) -> bool:
    for module in modules:
        if listened_to(module):
            return False
        if type(module) in (Linear, MaskedLinear):  # a parametrised one has a class of its own
            steps.append(("linear", len(layers)))
            layers.append(module)
        elif type(module) in _NAMES:
            steps.append(("activation", 0))
            names.add(_NAMES[type(module)])
        elif isinstance(module, nn.Dropout):
            if training and module.p:
                return False
        elif isinstance(getattr(module, "inner", None), nn.Sequential):
            steps.append(("begin", 0))
            if not _read(module.inner, steps, layers, names, training=training):
                return False
            steps.append(("end", 0))
        else:
            return False
    return True
