"""Run ``diffeo.verify`` on flows of zuko, nflows, normflows and FrEIA, and say what it finds.

    python scripts/verify_peers.py                       # every peer that is installed
    python scripts/verify_peers.py --peers zuko nflows

Each flow is small (two features, one or two layers) and is looked at twice: with the weights that its
library gives it, and stressed (``diffeo.testing.stress``, weight matrices × 4). Then come findings that
take a few lines of their own. A peer that is not installed is skipped, and named. ``docs/peers.md`` is
written from what this prints.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import math
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import diffeo
from diffeo.diagnostics.report import Report
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.testing import peers, stress

PEERS = ("zuko", "nflows", "normflows", "FrEIA")

#: What mathematics asks of a flow, and what diffeo promises beyond it.
MATHEMATICS = ("differentiable", "invertible", "determinant", "mass", "sampler")
PROMISES = ("cheap", "contract", "rows")

#: (title, the peer's module, its adapter)
Subject = tuple[str, nn.Module, Callable[[Any], Any]]


# -- what is verified -----------------------------------------------------------------------------


def zuko_flows() -> Iterator[Subject]:
    """Yield flows of zuko: an autoregressive layer of each law, and couplings."""
    import zuko

    small = {"transforms": 2, "hidden_features": (16,)}
    for make in (zuko.flows.MAF, zuko.flows.NICE, zuko.flows.NSF, zuko.flows.SOSPF, zuko.flows.BPF):
        yield make.__name__, make(2, **small), peers.from_zuko
    yield "NAF", zuko.flows.NAF(2, **small), peers.from_zuko
    slow = {**small, "transforms": 1, "network": {"hidden_features": (16,)}}
    yield "UNAF", zuko.flows.UNAF(2, **slow), peers.from_zuko
    yield "GF", zuko.flows.GF(2, transforms=2), peers.from_zuko


def nflows_flows() -> Iterator[Subject]:
    """Yield flows of nflows: MAF, Real NVP, and a rational-quadratic NSF."""
    from nflows.distributions import StandardNormal as Normal
    from nflows.flows import Flow as Peer
    from nflows.flows import MaskedAutoregressiveFlow, SimpleRealNVP
    from nflows.transforms import (
        CompositeTransform,
        LULinear,
        MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
    )

    yield "MaskedAutoregressiveFlow", MaskedAutoregressiveFlow(2, 16, 2, 1), peers.from_nflows
    yield "SimpleRealNVP", SimpleRealNVP(2, 16, 2, 1), peers.from_nflows
    spline = MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        2, 16, num_bins=8, tails="linear", tail_bound=3.0
    )
    yield "NSF with LU", Peer(CompositeTransform([LULinear(2), spline]), Normal([2])), peers.from_nflows


def normflows_flows() -> Iterator[Subject]:
    """Yield flows of normflows: Real NVP, MAF, a rational-quadratic NSF, and planar layers."""
    import normflows as nf

    def flow(*layers: nn.Module) -> nn.Module:
        return nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), list(layers))

    def coupling() -> nn.Module:
        return nf.flows.AffineCouplingBlock(nf.nets.MLP([1, 16, 2], init_zeros=True))

    yield "Real NVP", flow(coupling(), nf.flows.Permute(2), coupling()), peers.from_normflows
    masked = nf.flows.MaskedAffineAutoregressive
    yield "MAF", flow(masked(2, 16), masked(2, 16)), peers.from_normflows
    spline = nf.flows.AutoregressiveRationalQuadraticSpline(2, 1, 16)
    yield "NSF with LU", flow(spline, nf.flows.LULinearPermute(2)), peers.from_normflows
    planar = nf.flows.Planar((2,), act="leaky_relu")
    yield "Planar", flow(planar), peers.from_normflows


def freia_flows() -> Iterator[Subject]:
    """Yield modules of FrEIA, over the standard normal that its documentation trains them with."""
    import FrEIA.framework as framework
    import FrEIA.modules as modules

    def subnet(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs))

    def over_normal(module: nn.Module) -> Flow:
        return Flow(StandardNormal(2), peers.from_freia(module))

    sequence = framework.SequenceINN(2)
    for _ in range(2):
        sequence.append(modules.AllInOneBlock, subnet_constructor=subnet)
    yield "AllInOneBlock", sequence, over_normal
    node = framework.InputNode(2)
    block = framework.Node(node, modules.GLOWCouplingBlock, {"subnet_constructor": subnet})
    graph = framework.GraphINN([node, block, framework.OutputNode(block)])
    yield "GLOWCouplingBlock in a GraphINN", graph, over_normal
    yield "LearnedElementwiseScaling", modules.LearnedElementwiseScaling([(2,)]), over_normal
    yield "IResNetLayer", modules.IResNetLayer([(2,)]), over_normal


# -- findings of a few lines ----------------------------------------------------------------------


def zuko_sums_slopes_over_contexts() -> str:
    """zuko: a point beside several contexts has too high a density, in NAF, BPF and GF (issue 55)."""
    import zuko

    flow = zuko.flows.NAF(2, context=3).double()
    x, c = torch.zeros(2, dtype=torch.float64), torch.zeros(5, 3, dtype=torch.float64)
    off = flow(c).log_prob(x) - flow(c).log_prob(x.expand(5, 2))
    return (
        f"log p of one x beside 5 contexts is off by {off.mean():.4f} nats; 2 log 5 = {2 * math.log(5):.4f}"
    )


def zuko_ends_at_its_box() -> str:
    """zuko: NAF, UNAF, SOSPF and GF send what lies beyond ±10 back to 10, without a word."""
    import zuko

    flow = zuko.flows.UNAF(2, transforms=1)
    transform, x = flow().transform, torch.tensor([[14.0, 0.0]])
    back = transform.inv(transform(x))
    return f"x = {x.tolist()} comes back as {[[round(v, 4) for v in row] for row in back.tolist()]}"


def zuko_loses_mass() -> str:
    """zuko: between layers with a box stands a softclip at 11, whose image a layer may not map onto ℝ."""
    import zuko

    flow = zuko.flows.NAF(1, transforms=3).double()
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "network" in name and "weight" in name:
                parameter.mul_(0.5)
        # The noise that x = −∞ and x = ∞ are sent to holds all the mass between them.
        low, high = flow().transform(torch.tensor([[-1e12], [1e12]], dtype=torch.float64)).flatten()
    mass = float(torch.special.ndtr(high) - torch.special.ndtr(low))
    return f"weights of three layers halved, all of ℝ goes into ({low:.2f}, {high:.2f}): ∫p = {mass:.4f}"


def nflows_draws_float32() -> str:
    """nflows: a model in float64 cannot draw, since StandardNormal draws in torch's default dtype."""
    from nflows.flows import MaskedAutoregressiveFlow

    flow = MaskedAutoregressiveFlow(2, 8, 2, 1).double()
    return _outcome(lambda: flow.sample(3))


def nflows_batches_contexts_wrongly() -> str:
    """nflows: sampling in batches with contexts joins the batches along the contexts."""
    from nflows.distributions import StandardNormal as Normal
    from nflows.flows import Flow as Peer
    from nflows.transforms import MaskedAffineAutoregressiveTransform

    flow = Peer(MaskedAffineAutoregressiveTransform(2, 8, context_features=3), Normal([2]))
    c = torch.randn(4, 3)
    whole, parts = flow.sample(10, c), flow.sample(10, c, batch_size=5)
    return f"10 draws for 4 contexts: {tuple(whole.shape)} at once, {tuple(parts.shape)} in batches of 5"


def nflows_splines_assert() -> str:
    """nflows: the inverse of a rational-quadratic spline asserts a discriminant that rounding makes < 0."""
    from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline

    return _spline_inverses(unconstrained_rational_quadratic_spline)


def normflows_splines_assert() -> str:
    """normflows: the same assertion, in the same formula."""
    from normflows.utils.splines import unconstrained_rational_quadratic_spline

    return _spline_inverses(unconstrained_rational_quadratic_spline)


def normflows_sums_in_float32() -> str:
    """normflows: log-determinants of a float64 model are summed in float32, though log_prob is not."""
    import normflows as nf

    layers = [nf.flows.MaskedAffineAutoregressive(2, 16) for _ in range(4)]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(2), layers).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    found = {
        "inverse_and_log_det": flow.inverse_and_log_det(x)[1],
        "forward_and_log_det": flow.forward_and_log_det(x)[1],
        "forward_kld": flow.forward_kld(x),
        "log_prob": flow.log_prob(x),
    }
    return ", ".join(f"{name}: {value.dtype}".replace("torch.", "") for name, value in found.items())


def normflows_leaves_nan_out() -> str:
    """normflows: bits per dimension of a data set are a mean over the rows that are not NaN."""
    import normflows as nf

    class Diverged(nn.Module):
        def log_prob(self, x: Tensor) -> Tensor:
            return torch.where(torch.arange(len(x)) == 0, torch.nan, -x.square().sum(-1))

    bits = nf.utils.bitsPerDimDataset(Diverged(), [(torch.randn(4, 3), torch.zeros(4))], class_cond=False)
    return f"one of four log-densities is NaN; bitsPerDimDataset returns {float(bits):.4f}"


def freia_scaling_has_one_sign() -> str:
    """FrEIA: LearnedElementwiseScaling returns the same log-determinant in both directions."""
    import FrEIA.modules as modules

    layer = modules.LearnedElementwiseScaling([(2,)])
    with torch.no_grad():
        layer.s.copy_(torch.tensor([[0.5, 1.0]]))
    x = torch.ones(1, 2)
    there, back = float(layer([x])[1]), float(layer([x], rev=True)[1])
    return f"log │det│ is {there:.2f} forwards and {back:.2f} in reverse, where it is −1.50"


def freia_iresnet_has_no_gradient() -> str:
    """FrEIA: the log-determinant of IResNetLayer carries no gradient, and does not know torch.no_grad()."""
    import FrEIA.modules as modules

    layer, x = modules.IResNetLayer([(2,)]), torch.randn(4, 2)

    def without_gradients() -> object:
        with torch.no_grad():
            return layer([x.clone()])

    grad = layer([x.clone()])[1].requires_grad
    return f"log_det.requires_grad = {grad}; under torch.no_grad(): {_outcome(without_gradients)}"


def freia_iresnet_reverses_elsewhere() -> str:
    """FrEIA: in reverse, IResNetLayer takes −log │det│ at z, where it belongs to x = f⁻¹(z)."""
    import FrEIA.modules as modules

    layer = modules.IResNetLayer([(1,)], internal_size=16)
    layer.lipschitz_correction()
    layer = layer.double()  # with one feature Hutchinson's estimate is exact
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).unsqueeze(-1)
    z, there = layer([x.clone()])
    (back,), log_det = layer([z[0].detach()], rev=True)
    apart = float((log_det + there).abs().max())
    error = float((back - x).abs().max())
    return f"x comes back to {error:.0e}; the sum of both log-determinants misses 0 by {apart:.1e}"


def freia_has_no_log_prob() -> str:
    """FrEIA: the log_prob without a log-determinant of its later source is not in this release."""
    import FrEIA.framework as framework

    return f"GraphINN has a log_prob: {hasattr(framework.GraphINN, 'log_prob')}"


def _outcome(call: Callable[[], object]) -> str:
    try:
        return f"returns {call()}"
    except Exception as error:  # what it says is the finding
        return f"{type(error).__name__}: {' '.join(str(error).split())[:110]}"


def _spline_inverses(spline: Callable[..., object]) -> str:
    """Return how often a spline's inverse fails just below its knots, and at normal draws."""
    generator = torch.Generator().manual_seed(0)

    def failures(points: Callable[[Tensor], Tensor]) -> int:
        failed = 0
        for _ in range(100):
            widths, heights = (3 * torch.randn(5000, 8, generator=generator) for _ in range(2))
            slopes = 3 * torch.randn(5000, 7, generator=generator)
            knots = 6 * (1e-3 + (1 - 8e-3) * heights.softmax(-1)).cumsum(-1) - 3
            options: dict[str, Any] = {"tails": "linear", "tail_bound": 3.0}
            try:
                spline(points(knots), widths, heights, slopes, inverse=True, **options)
            except AssertionError:
                failed += 1
        return failed

    below = failures(lambda knots: (knots[:, 3] - 1e-7).clamp(-3, 3))
    drawn = failures(lambda knots: torch.randn(len(knots), generator=generator))
    return (
        f"of 100 calls with 5000 elements each {below} raise AssertionError 1e-7 below a knot, "
        f"{drawn} at normal draws"
    )


SUBJECTS: dict[str, Callable[[], Iterator[Subject]]] = {
    "zuko": zuko_flows,
    "nflows": nflows_flows,
    "normflows": normflows_flows,
    "FrEIA": freia_flows,
}
FINDINGS: dict[str, tuple[Callable[[], str], ...]] = {
    "zuko": (zuko_sums_slopes_over_contexts, zuko_ends_at_its_box, zuko_loses_mass),
    "nflows": (nflows_draws_float32, nflows_batches_contexts_wrongly, nflows_splines_assert),
    "normflows": (normflows_sums_in_float32, normflows_leaves_nan_out, normflows_splines_assert),
    "FrEIA": (
        freia_scaling_has_one_sign,
        freia_iresnet_has_no_gradient,
        freia_iresnet_reverses_elsewhere,
        freia_has_no_log_prob,
    ),
}


# -- the page -------------------------------------------------------------------------------------


def verified(peer: str, most: int | None = None) -> Iterator[tuple[str, str, Report, float]]:
    """Yield title, weights, report and seconds of each subject of a peer, or of the first ``most``."""
    torch.manual_seed(0)
    for k, (title, module, adapt) in enumerate(SUBJECTS[peer]()):
        if most is not None and k >= most:
            return
        for weights, own in (("default", module), ("stressed × 4", stress(module, gain=4.0))):
            for part in own.modules():  # FrEIA asks its users to call this before a pass
                getattr(part, "lipschitz_correction", lambda: None)()
            start = time.perf_counter()
            yield title, weights, diffeo.verify(adapt(own)), time.perf_counter() - start


def findings(peer: str) -> Iterator[tuple[str, str]]:
    """Yield what is looked for and what was seen."""
    for finding in FINDINGS[peer]:
        torch.manual_seed(0)
        yield inspect.getdoc(finding) or "", finding()


def mark(report: Report, requirement: str) -> str:
    """Return ✓, ✗, or – where nothing could be judged."""
    figures = report.requirements.get(requirement, ())
    if any(not figure.ok for figure in figures):
        return "✗"
    return "✓" if any(figure.tested for figure in figures) else "–"


def page(peer: str, most: int | None = None) -> Iterator[str]:
    """Yield the lines of one peer's page, or the one that says why there is none."""
    try:
        version = importlib.metadata.version(peer)
    except importlib.metadata.PackageNotFoundError:
        yield f"## {peer}: SKIPPED, it is not installed (pip install {peer})\n"
        return
    columns = (*MATHEMATICS, *PROMISES)
    yield f"## {peer} {version}\n"
    yield f"| flow | weights | {' | '.join(columns)} | s |"
    yield f"|{' --- |' * (len(columns) + 3)}"
    notes: list[str] = []
    for title, weights, report, seconds in verified(peer, most):
        marks = " | ".join(mark(report, column) for column in columns)
        yield f"| {title} | {weights} | {marks} | {seconds:.0f} |"
        for requirement in MATHEMATICS:
            found = [figure for figure in report.requirements.get(requirement, ()) if not figure.ok]
            if found:
                first = found[0]
                layer = f", layer {first.layer}" if first.layer else ""
                said = first.detail[:160] or f"{first.worst:.2g}, limit {first.limit:.2g}"
                notes.append(f"- {title}, {weights}: {first.name}{layer}: {said}")
    yield ""
    yield from notes
    yield ""
    for question, seen in findings(peer):
        yield textwrap.fill(f"- {question} Seen: {seen}.", 108, subsequent_indent="  ")
    yield ""


def main() -> int:
    """Print the pages; the exit code is 0, whatever is found in other people's code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--most", type=int, help="flows of each peer")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers', about torch functions that are going away
    print(f"diffeo {diffeo.__version__}, torch {torch.__version__}, Python {sys.version.split()[0]}\n")
    print(
        "✓ held, ✗ broken, – not judged. cheap, contract and rows are promises of diffeo, not of peers.\n"
    )
    for peer in arguments.peers:
        for line in page(peer, arguments.most):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
