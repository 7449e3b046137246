"""The three requirements of a flow, checked on anybody's module: differentiable, invertible, det J."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffeo.bijections import Bijection
from diffeo.bijections.chain import layers_of
from diffeo.diagnostics import checks
from diffeo.diagnostics.checks.subject import apply, direction, own_copy
from diffeo.diagnostics.figure import Figure
from diffeo.diagnostics.material import Material, gather
from diffeo.diagnostics.report import Report
from diffeo.flows import Flow

#: Beyond this many elements, D backward passes for every row, layer and figure take too long …
_LARGE = 256

#: … and beyond this many, they do for one row of each direction.
_LARGEST = 1024

#: Evaluations of the density that a quadrature may take.
_EVALUATIONS = 400_000

_BOTH = (torch.float32, torch.float64)


def verify(
    target: Any,
    x: Tensor | None = None,
    context: Tensor | None = None,
    *,
    dims: Sequence[int] = (2, 4, 8, 16, 32, 64),
    seed: int = 0,
) -> Report:
    """Check a bijection or a flow, yours or diffeo's, and say what is wrong with it and in which layer.

    * differentiable: gradients finite both ways, gradcheck in float64, no jumps;
    * invertible: the round trip both ways, float32 and float64, beside the error that its conditioning
      predicts for each row (:mod:`diffeo.bijections.rounding`), so that a badly conditioned map is said to
      be that, and a map that is not invertible is caught;
    * determinant right: both directions beside autograd's Jacobian and beside each other; and cheap: a
      pass costs what a few backward passes cost, not D of them;
    * mass: ∫ p(x) dx = 1 for a flow of one or two features, and samples follow p;
    * contract: shapes for every batch shape, finite values, inputs left unchanged, precision kept;
    * rows: a hostile value in one row disturbs no other row.

    It works on a copy in evaluation mode, in float32 and float64, and never raises because of the module:
    what goes wrong becomes a failed figure. Figures that could not be judged have ``tested == 0``. Flows of
    zuko, nflows, normflows and FrEIA come in through :mod:`diffeo.testing.peers`.

    Args:
        target: a flow; a bijection; any module whose ``forward`` and ``inverse`` return (value, log_det);
            or a function that builds one for D features, as ``diffeo.flows.RealNVP``: then the growth of
            the cost with D is measured too.
        x: rows of data, (n, *event); without it, values are drawn.
        context: a row, or a row for each row of x; without it, drawn where the target needs one.
        dims: the D's at which a function is asked for a module.
        seed: of every draw.

    >>> import torch
    >>> class Square(torch.nn.Module):
    ...     def forward(self, z):
    ...         return z**2, torch.log(2 * z.abs()).sum(-1)
    ...     def inverse(self, x):
    ...         return x.sqrt(), -torch.log(2 * x.sqrt()).sum(-1)
    >>> report = verify(Square())
    >>> report.ok, report.requirements["invertible"][0].ok
    (False, False)
    """
    found: dict[str, list[Figure]] = {}
    name = getattr(target, "__name__", type(target).__name__)
    if _is_factory(target):
        make = target
        found["cheap"] = [checks.growth(make, dims, seed=seed)]
        try:
            target = make(dims[min(1, len(dims) - 1)])
        except Exception as error:  # reported, like everything a user's code does
            return _unusable(name, f"building it for D = {dims[0]} raised {type(error).__name__}: {error}")
    try:
        material = gather(target, x, context, seed)
    except Exception as error:  # reported, like everything a user's code does
        return _unusable(name, f"{type(error).__name__}: {error}")
    own = _figures(target, material, seed)
    for requirement, figures in own.items():
        found[requirement] = figures + found.get(requirement, [])
    # A layer with broken shapes makes the chain raise in its own sum: it is that layer's fault.
    fault = next((figure.layer for figure in own["contract"] if figure.layer), "")
    for figures in found.values():
        for k, figure in enumerate(figures):
            if fault and not figure.layer and figure.worst != figure.worst:
                figures[k] = dataclasses.replace(figure, layer=fault)
    return Report(name, {key: tuple(found[key]) for key in own})


def _is_factory(target: Any) -> bool:
    if isinstance(target, type):
        return True
    return callable(target) and not isinstance(target, nn.Module) and not hasattr(target, "inverse")


def _unusable(name: str, why: str) -> Report:
    return Report(name, {"contract": (Figure("can be called", float("nan"), 0.0, 1, 1, detail=why),)})


def _figures(target: Any, material: Material, seed: int) -> dict[str, list[Figure]]:
    flow = target if isinstance(target, Flow) else None
    found: dict[str, list[Figure]] = {
        "differentiable": [],
        "invertible": [],
        "determinant": [],
        "cheap": [_timed_cost(material)],
        "contract": [],
        "rows": [],
    }
    small = material.size <= _LARGE
    for dtype in _BOTH:
        for inverse in (False, True):
            judge = _Judge(material, inverse, dtype)
            if small:
                found["invertible"].append(judge(_round_trip))
                found["determinant"].append(judge(checks.log_det_matches_autograd, rows=32))
            else:
                found["invertible"].append(judge(checks.round_trip))
                if dtype == torch.float64:
                    found["determinant"].append(_large_determinant(material, inverse))
            found["determinant"].append(judge(checks.log_dets_cancel))
            found["differentiable"].append(judge(checks.gradients_finite))
            if dtype == torch.float64 and small:
                found["differentiable"].append(judge(checks.gradcheck, rows=16))
                found["differentiable"].append(judge(checks.continuous))
            if dtype == torch.float64:
                found["contract"].append(judge(checks.shapes, every_layer=True))
                found["contract"].append(judge(checks.finite))
                found["contract"].append(judge(checks.inputs_not_mutated, rows=6, every_layer=True))
                found["contract"].append(judge(checks.dtype_fidelity, rows=6, every_layer=True))
            else:
                found["rows"].append(judge(checks.row_isolation, rows=6, sites=6))
    if flow is not None:
        row_x, row_context = material.side(True, torch.float32, 6)
        found["rows"].append(checks.row_isolation(flow, row_x, row_context, sites=6))
        found["contract"].append(checks.inputs_not_mutated(flow, row_x, row_context))
        found["contract"].append(checks.dtype_fidelity(flow, row_x, row_context))
        found |= _density(flow, material, seed)
    return found


def _density(flow: Flow, material: Material, seed: int) -> dict[str, list[Figure]]:
    """Return the figures that only a density has."""
    one = None if material.context is None else material.context[0]
    slices = None if material.context is None else material.context[:2]
    found: dict[str, list[Figure]] = {"sampler": []}
    if material.size <= _LARGE:
        for dtype in _BOTH:
            own = copy.deepcopy(flow).to(dtype)
            cond = None if one is None else one.to(dtype)
            found["sampler"].append(checks.sample_log_prob(own, cond, seed=seed))
    if material.size <= 2:
        found["mass"] = [checks.mass(flow, slices, most=_EVALUATIONS, seed=seed)]
        found["sampler"].append(
            checks.sampler_matches_density(flow, one, draws=5000, most=_EVALUATIONS, seed=seed)
        )
    return found


def _round_trip(
    bijection: Any, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> Figure:
    """Compare with the prediction; where none can be made, use the limit of well-conditioned maps."""
    figure = checks.round_trip_against_prediction(bijection, value, context, inverse=inverse)
    if figure.worst == figure.worst:
        return figure
    plain = checks.round_trip(bijection, value, context, inverse=inverse)
    if plain.worst != plain.worst:
        return plain
    reason = f"no prediction: {figure.detail}"
    return dataclasses.replace(plain, detail=f"{plain.detail}; {reason}" if plain.detail else reason)


def _large_determinant(material: Material, inverse: bool) -> Figure:
    """Compare one row with autograd's Jacobian, or say why not."""
    if material.size <= _LARGEST:
        value, context = material.side(inverse, torch.float64, 1)
        return checks.log_det_matches_autograd(material.bijection, value, context, inverse=inverse)
    reason = f"not compared: {material.size} backward passes through every layer; pass a smaller event"
    return Figure(f"log-determinant − autograd's ({direction(inverse)})", 0.0, 0.0, 0, 0, detail=reason)


def _timed_cost(material: Material) -> Figure:
    """Return the cost figure, with the wall-clock of a pass beside autograd's Jacobian in its detail."""
    value, context = material.side(False, torch.float32, 16)
    figure = checks.cost(material.bijection, value, context)
    if not figure.ok:
        for name, layer in layers_of(material.bijection)[: 0 if figure.layer else None]:
            part = checks.cost(layer, value, context)
            if not part.ok:
                return dataclasses.replace(part, layer=name if name[0].isdigit() else "")
    if figure.worst != figure.worst or material.size > _LARGE:
        return figure
    try:
        own, full = checks.wall_clock(material.bijection, value, context)
    except Exception:  # whatever it is, the other figures of this direction report it
        return figure
    beside = (
        f"{own * 1e3:.2g} ms a pass, autograd's full Jacobian {full * 1e3:.2g} ms (D = {material.size})"
    )
    return dataclasses.replace(figure, detail=f"{figure.detail}; {beside}")


class _Judge:
    """Runs checks in one direction and precision, and finds the layer at fault."""

    def __init__(self, material: Material, inverse: bool, dtype: torch.dtype) -> None:
        self.material, self.inverse, self.dtype = material, inverse, dtype

    def __call__(
        self,
        check: Callable[..., Figure],
        *,
        rows: int | None = None,
        every_layer: bool = False,
        sites: int | None = None,
    ) -> Figure:
        """Return the figure of the whole, with the first layer that fails the same check by itself.

        Layers are looked at where the whole fails or could not be judged, or always with ``every_layer``.
        """
        value, context = self.material.side(self.inverse, self.dtype, rows)
        options = {} if sites is None else {"sites": sites}
        whole = check(self.material.bijection, value, context, inverse=self.inverse, **options)
        if whole.ok and whole.tested and not every_layer:
            return whole
        if whole.layer or len(layers_of(self.material.bijection)) == 1:
            return whole
        parts = [
            (name, check(layer, at, context, inverse=self.inverse, **options))
            for name, layer, at in self._arriving(value, context)
        ]
        for name, part in parts:
            if not part.ok:
                return dataclasses.replace(part, name=whole.name, layer=name)
        if whole.ok and not whole.tested and parts:
            # Differentiable layers make a differentiable chain: their figures stand for the whole.
            return dataclasses.replace(
                whole,
                worst=max(part.worst for _, part in parts),
                tested=sum(part.tested for _, part in parts),
                detail=f"{whole.detail}; so judged layer by layer"
                if whole.detail
                else "judged layer by layer",
            )
        return whole

    @torch.no_grad()
    def _arriving(self, value: Tensor, context: Tensor | None) -> list[tuple[str, Bijection, Tensor]]:
        """Return each layer with the activations that reach it, as far as they can be computed."""
        found: list[tuple[str, Bijection, Tensor]] = []
        layers = layers_of(own_copy(self.material.bijection, self.dtype))
        for name, layer in reversed(layers) if self.inverse else layers:
            found.append((name, layer, value))
            try:
                value = apply(layer, value, context, inverse=self.inverse)[0]
            except Exception:  # this layer's own figure says what was raised
                break
            if not value.isfinite().all():
                break
        return found
