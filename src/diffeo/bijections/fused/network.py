"""What the compiled kernels are told of a conditioner."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diffeo.bijections.listening import listened_to
from diffeo.conditioners import MLP, Conditioner, MaskedMLP, MaskedResidualMLP, ResidualMLP
from diffeo.conditioners.conditioner import ACTIVATIONS, Linear
from diffeo.conditioners.masked_layers import MaskedBlock, MaskedLinear
from diffeo.conditioners.residual import ResidualBlock
from diffeo.kernels.native import Network

_NAMES = {kind: name for name, kind in ACTIVATIONS.items()}


def _settings(activation: nn.Module) -> dict[str, Any]:
    """Return what an activation computes by."""
    kept = ("training", "inplace")
    return {k: v for k, v in vars(activation).items() if not k.startswith("_") and k not in kept}


#: What the kernels' activations are: those that conditioners make.
_DEFAULTS = {kind: _settings(kind()) for kind in _NAMES}


def network_of(conditioner: Conditioner, *, training: bool) -> tuple[Network, list[Tensor]] | None:
    """Return a conditioner's steps and the parameters that they read, or None for another thing.

    One that drops units while it trains is not taken, nor one on a circle, nor one without inputs.
    """
    if type(conditioner) not in (MLP, MaskedMLP, ResidualMLP, MaskedResidualMLP):
        return None
    modules: Any = getattr(conditioner, "layers", None)
    if type(modules) is not nn.Sequential or conditioner.period is not None:
        return None
    if any(map(listened_to, conditioner.modules())):
        return None
    steps: list[tuple[str, int]] = []
    layers: list[nn.Linear] = []
    names: set[str] = set()
    if not _read(modules, steps, layers, names, training=training) or len(names) > 1:
        return None
    direct: Any = getattr(conditioner, "direct", None)
    if direct is not None:
        if type(direct) is not MaskedLinear:  # a parametrised one has a class of its own
            return None
        steps.append(("direct", len(layers)))
        layers.append(direct)
    parameters: list[Tensor] = []
    for layer in layers:
        shapes = (layer.out_features, layer.in_features), (layer.out_features,)
        for tensor, shape in zip((layer.weight, layer.bias), shapes, strict=True):
            given: Any = tensor
            if not isinstance(given, nn.Parameter) or given.shape != shape:
                return None
            parameters.append(given)
    if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in parameters):
        return None
    sizes = tuple((layer.in_features, layer.out_features) for layer in layers)
    masks = tuple(layer.mask.numpy() if isinstance(layer, MaskedLinear) else None for layer in layers)
    return Network(tuple(steps), sizes, masks, names.pop() if names else "relu"), parameters


def _read(
    modules: nn.Sequential,
    steps: list[tuple[str, int]],
    layers: list[nn.Linear],
    names: set[str],
    *,
    training: bool,
) -> bool:
    for module in modules:
        if type(module) in (Linear, MaskedLinear):
            assert isinstance(module, nn.Linear)
            steps.append(("linear", len(layers)))
            layers.append(module)
        elif type(module) in _NAMES:
            if _settings(module) != _DEFAULTS[type(module)]:
                return False
            steps.append(("activation", 0))
            names.add(_NAMES[type(module)])
        elif type(module) is nn.Dropout:
            if training and module.p:
                return False
        elif type(module) in (ResidualBlock, MaskedBlock) and type(module.inner) is nn.Sequential:
            steps.append(("begin", 0))
            if not _read(module.inner, steps, layers, names, training=training):
                return False
            steps.append(("end", 0))
        else:
            return False
    return True
