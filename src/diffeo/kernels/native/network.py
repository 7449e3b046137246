"""A conditioner's network, as the compiled kernels are told it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STEPS = ("linear", "activation", "begin", "end", "direct")
ACTIVATIONS = ("relu", "tanh", "silu", "elu", "leaky_relu", "gelu")
BY_GIVEN = ("silu", "gelu")

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Network:
    """What a conditioner computes, as steps on a stream h of numbers.

    Attributes:
        steps: ("linear", layer), ("activation", 0); ("begin", 0) and ("end", 0) of a residual block, at the
            end of which what h was at its beginning is added; ("direct", layer), last, for a layer from the
            input whose output is added.
        sizes: (inputs, outputs) of each layer.
        masks: of each layer's weight, (outputs, inputs), or None.
        activation: its name.
    """

    steps: tuple[tuple[str, int], ...]
    sizes: tuple[tuple[int, int], ...]
    masks: tuple[Mask | None, ...]
    activation: str
