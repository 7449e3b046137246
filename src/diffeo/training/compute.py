"""What a step's passes are computed by: which kernels, and in which precision."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.bijections import Autoregressive, Bijection, Coupling
from diffeo.bijections.chain import rebuilt
from diffeo.conditioners import Conditioner, OrderedConditioner
from diffeo.conditioners.ordered import Graph
from diffeo.flows import Flow
from diffeo.flows.accelerated import accelerated
from diffeo.kernels import triton
from diffeo.kernels.native import has_bfloat16, library
from diffeo.objectives import Objective
from diffeo.training.blocks import Block, block_of
from diffeo.training.config import TrainConfig

#: Hidden units from which products in bfloat16 are worth their rounding.
WIDE = 128


@dataclass(frozen=True)
class Computed:
    """A flow as its steps are computed.

    Attributes:
        flow: shares its parameters with the flow that is trained.
        precision: that of the products of matrices inside conditioners: "float32", "bfloat16" or "float64".
        kernels: "compiled" where some layers are, or "torch".
        blocks: layers that torch.compile may take (:func:`~diffeo.training.blocks.settle` says).
    """

    flow: Flow
    precision: str
    kernels: str
    blocks: tuple[Block, ...] = ()


def computed(flow: Flow, objective: Objective, config: TrainConfig) -> Computed:
    """Return what the steps of a fit go through.

    With ``compile="auto"`` couplings and autoregressive layers go through the compiled kernels where there
    are any for them (on a GPU, their law does), which are built here if they are not kept yet; an objective
    that differentiates twice is computed by torch. It is decided before the first step, by the flow and the
    machine alone, so that the same seed gives the same weights. With ``compile="blocks"`` the layers that
    they do not know are made into blocks, which are torch's until they are settled.
    """
    device = flow.base.device.type
    double = flow.dtype == torch.float64
    if type(flow) is not Flow:  # it may compute its density in its own way
        return Computed(flow, "float64" if double else "float32", "torch")
    if double:
        return _in_blocks(Computed(flow, "float64", "torch"), flow, objective, config)
    half = config.precision == "bfloat16" or (
        config.precision == "auto"
        and _has_bfloat16(device)
        and _widest(flow) >= WIDE
        and not _recovers(flow)
    )
    precision = "bfloat16" if half else "float32"
    bijection, kernels = flow.bijection, "torch"
    if config.compile != "off" and objective.first_order and _has_kernels(device):
        native = half and device == "cpu" and has_bfloat16()
        if native or not half or device != "cpu":  # bfloat16 that only torch has here is left to it
            bijection = accelerated(bijection, half=native, training=True)
        kernels = "torch" if bijection is flow.bijection else "compiled"
    if config.precision == "auto" and device == "cpu" and kernels == "torch":
        precision, half = "float32", False
    if half:
        # What the kernels do not compute in bfloat16 themselves.
        bijection = rebuilt(bijection, _lowered)
    if bijection is flow.bijection:
        return _in_blocks(Computed(flow, precision, kernels), flow, objective, config)
    logging.getLogger("diffeo.training").info("steps are computed by %s kernels in %s", kernels, precision)
    found = Computed(Flow(flow.base, bijection).train(flow.training), precision, kernels)
    return _in_blocks(found, flow, objective, config)


def _in_blocks(found: Computed, flow: Flow, objective: Objective, config: TrainConfig) -> Computed:
    """Return the same with blocks in the place of layers, where they are asked for and may be."""
    if config.compile != "blocks" or not objective.first_order or _recovers(flow):
        return found
    bijection = rebuilt(found.flow.bijection, block_of)
    blocks = tuple(part for part in bijection.modules() if isinstance(part, Block))
    if not blocks:
        return found
    through = Flow(found.flow.base, bijection).train(found.flow.training)
    return Computed(through, found.precision, found.kernels, blocks)


def _has_kernels(device: str) -> bool:
    return triton.available() if device == "cuda" else device == "cpu" and library() is not None


def _has_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and has_bfloat16()


def _recovers(flow: Flow) -> bool:
    """Return whether activations are recovered on the way back.

    An input that comes back a rounding off may round to another bfloat16, which moves θ by 2⁻⁸ and the next
    input further: what is recovered drifts, and is computed again, twice the time.
    """
    return any(getattr(part, "memory", "full") == "constant" for part in flow.modules())


def _widest(flow: Flow) -> int:
    """Return the widest hidden layer of all conditioners."""
    widths = [0]
    for part in flow.modules():
        if isinstance(part, Conditioner):
            theta = part.out_features * part.n_params
            linear = (layer for layer in part.modules() if isinstance(layer, torch.nn.Linear))
            widths += [layer.out_features for layer in linear if layer.out_features != theta]
    return max(widths)


def _lowered(layer: Bijection) -> Bijection:
    """Return a layer whose conditioner multiplies in bfloat16; all else is computed as it was."""
    if type(layer) not in (Coupling, Autoregressive):
        return layer
    assert isinstance(layer, Coupling | Autoregressive)
    inner = layer.conditioner
    lower = LoweredOrdered(inner) if isinstance(inner, OrderedConditioner) else Lowered(inner)
    # The layer as it is, but for the network: a copy of the object, not of its tensors.
    other = copy.copy(layer)
    other.__dict__["described_by"] = (
        layer,
    )  # the constructor's arguments are those of the layer as it was
    other.__dict__["_modules"] = {**dict(layer.named_children()), "conditioner": lower}
    return other


class Lowered(Conditioner):
    """A conditioner whose products are of bfloat16, by torch's autocast; θ comes back in float32."""

    def __init__(self, conditioner: Conditioner) -> None:
        super().__init__()
        self.inner = conditioner
        self.in_features, self.out_features = conditioner.in_features, conditioner.out_features
        self.n_params, self.context = conditioner.n_params, conditioner.context
        self.event_shape, self.period = conditioner.event_shape, conditioner.period

    def outlet(self) -> None:
        """Return None: where θ begins was set."""
        return

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.inner(x, context).to(x.dtype)


class LoweredOrdered(Lowered, OrderedConditioner):
    """The same for one that has an order."""

    def __init__(self, conditioner: OrderedConditioner) -> None:
        super().__init__(conditioner)
        self.levels = conditioner.levels

    @property
    def graph(self) -> Graph:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return that of the conditioner, which may make it when it is asked for."""
        assert isinstance(self.inner, OrderedConditioner)
        return self.inner.graph
