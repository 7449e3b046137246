"""The contract: what every part keeps, in every structure, size, context, precision and stress.

One :class:`Promise` is one figure of the reliability page, measured on one variant by the functions of
:mod:`diffeo.diagnostics.checks`. The tests run a spread of variants through all promises, ``make
reliability`` runs the whole product; authors of parts run their own cases:

>>> from diffeo.testing import CASES, broken_promises
>>> broken_promises(CASES["bijections.Scale"], figures=("A3", "A7"))
[]
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffeo.diagnostics import checks
from diffeo.diagnostics.checks.determinant import LIMITS
from diffeo.diagnostics.checks.round_trip import LIMITS as CLOSE
from diffeo.diagnostics.figure import Figure
from diffeo.testing.cases import Case
from diffeo.testing.functional import functional
from diffeo.testing.interop import torch_distributions
from diffeo.testing.stored import file_and_back, same_bytes
from diffeo.testing.stressed import GAINS
from diffeo.testing.untouched import untouched
from diffeo.testing.variant import Variant, variants

DTYPES = (torch.float64, torch.float32)
_BOTH = (False, True)


@dataclass(frozen=True)
class Promise:
    """One figure, and how it is measured on one variant.

    Attributes:
        figure: the label of the published figure, as "A3".
        text: what is promised.
        measure: returns the figures of a variant; none where the promise does not apply to it.
    """

    figure: str
    text: str
    measure: Callable[[Variant], Iterable[Figure]]


def _brought_back(v: Variant, inverse: bool) -> tuple[Tensor, Tensor | None]:
    """Return the rows of one side that the precision brings back: ten times closer than determinants agree.

    Others come back to a point where the determinant is another one: a spline's slope may change by a
    factor of a million within a thousandth of its box.
    """
    value, given = v.side(inverse)
    kept = v.predicted(inverse) < LIMITS[v.dtype] / 10
    return value[kept], given[kept] if given is not None and given.ndim > 1 else given


def _ordinary(v: Variant, inverse: bool) -> tuple[Tensor, Tensor | None]:
    """Return the rows of one side that its precision can tell from the edge of the support.

    exp and the sigmoid take far noise to the last number inside their support (or, exp, beyond the
    largest): the map of numbers is flat there, the map of mathematics is not, and they cannot be compared.
    """
    edged = v.case.domain not in ("real", "raw", "circle")
    return _brought_back(v, inverse) if edged and not inverse else v.side(inverse)


def _round_trips(v: Variant) -> Iterator[Figure]:
    for inverse in _BOTH:
        value, given = v.side(inverse)
        predicted = v.predicted(inverse)
        yield checks.round_trip_against_prediction(
            v.bijection, value, given, inverse=inverse, predicted=predicted
        )
        if v.gain == 1.0 and not v.training:
            yield _fixed_limit(v, value, given, inverse)


def _fixed_limit(v: Variant, value: Tensor, given: Tensor | None, inverse: bool) -> Figure:
    """Return the round trip of the rows in good condition: those predicted to keep the fixed limit.

    Near the edge of a box, and along the thin directions of whitened data, the rounding of x alone moves z
    by more than any fixed limit, whatever computes it.
    """
    size = value.abs().flatten(1).amax(-1).clamp(min=1.0)
    good = v.predicted(inverse) <= CLOSE[v.dtype] * size
    rows = given[good] if given is not None and given.ndim > 1 else given
    figure = checks.round_trip(v.bijection, value[good], rows, inverse=inverse)
    left_out = int((~good).sum())
    note = f"{left_out} of {len(value)} rows in worse condition left out" if left_out else ""
    return replace(figure, detail=figure.detail or note)


def _determinants(v: Variant) -> Iterator[Figure]:
    for inverse in _BOTH:
        back, given = _brought_back(v, inverse)
        yield checks.log_dets_cancel(v.bijection, back, given, inverse=inverse)
        if v.size <= 16:
            # Formulas that are right in float64 are right; float32 may magnify a rounding of its point.
            exact = v.dtype == torch.float64
            value, given = _ordinary(v, inverse) if exact else (back, given)
            yield checks.log_det_matches_autograd(v.bijection, value, given, inverse=inverse)


def _gradients(v: Variant) -> Iterator[Figure]:
    for inverse in _BOTH:
        value, given = _ordinary(v, inverse)
        yield checks.gradients_finite(v.bijection, value, given, inverse=inverse)
        if v.size <= 7 and v.dtype == torch.float64:
            few, given = v.side(inverse, 2)
            yield checks.gradcheck(
                v.bijection,
                few,
                given,
                inverse=inverse,
                second=v.size <= 2,
                fast=v.brief,
                predicted=v.predicted(inverse)[:2],
            )


def _mass(v: Variant) -> Iterator[Figure]:
    if v.size <= 2 and v.context != "per row" and v.dtype == torch.float64:
        yield checks.mass(v.flow, v.given, cubature=v.cubature)


def _identity(v: Variant) -> Iterator[Figure]:
    if v.case.identity:
        yield checks.identity_at_zero(v.bijection, v.x, v.given)


def _sampler(v: Variant) -> Iterator[Figure]:
    wanted = 32 if v.sparing else 64  # each draw is one row for every row of the context
    draws = -(-wanted // len(v.given)) if v.given is not None and v.given.ndim > 1 else wanted
    yield checks.sample_log_prob(v.flow, v.given, draws=draws)
    if v.size <= 2 and v.context != "per row" and v.dtype == torch.float64:
        draws = 20_000 // v.case.thrift
        yield checks.sampler_matches_density(v.flow, v.given, draws=draws, cubature=v.cubature)


def _zeros(v: Variant) -> Iterator[Figure]:
    for inverse in _BOTH:
        value, given = v.side(inverse, 3)
        yield checks.jacobian_zeros(v.bijection, value, given, inverse=inverse)


def _isolation(v: Variant) -> Iterator[Figure]:
    value, given = v.side(True, 4)
    # One by one, it takes six times as many passes.
    together = v.training or v.gain != 1.0 or v.sparing
    yield checks.row_isolation(v.flow, value, given, sites=2, together=together)
    for inverse in _BOTH:
        value, given = v.side(inverse, 3)
        yield checks.row_isolation(v.bijection, value, given, inverse=inverse, sites=1, together=together)


def _batches(v: Variant) -> Iterator[Figure]:
    yield checks.batch_invariance(v.flow, v.x, v.given)
    for inverse in _BOTH:
        value, given = v.side(inverse)
        yield checks.batch_invariance(v.bijection, value, given, inverse=inverse)


def _unmutated(v: Variant) -> Iterator[Figure]:
    yield checks.inputs_not_mutated(v.flow, v.x, v.given)


def _precision(v: Variant) -> Iterator[Figure]:
    yield checks.dtype_fidelity(v.flow, v.x, v.given)


def _shapes(v: Variant) -> Iterator[Figure]:
    for inverse in _BOTH:
        value, given = v.side(inverse)
        yield checks.shapes(v.bijection, value, given, inverse=inverse)
        value, given = _ordinary(v, inverse)
        yield checks.finite(v.bijection, value, given, inverse=inverse)
    yield torch_distributions(v.flow, v.x, v.given, predicted=v.predicted(True))


def _files(v: Variant) -> Iterator[Figure]:
    yield file_and_back(v.flow, v.x, v.given)


def _bytes(v: Variant) -> Iterator[Figure]:
    yield same_bytes(v.flow)


def _functional(v: Variant) -> Iterator[Figure]:
    if not v.sparing or v.features == v.case.sizes[1]:  # the same graph in every size
        yield functional(v.flow, v.x, v.given)


def _untouched(v: Variant) -> Iterator[Figure]:
    # It trains. What a call leaves behind depends on no precision or stress: a short run asks one size.
    if v.size <= 4 and (not v.brief or v.features == v.case.sizes[0]):
        yield untouched(v.flow, v.x, v.given)


#: Every promise that is kept variant by variant, in the order of the page.
PROMISES: tuple[Promise, ...] = (
    Promise("A1", "what goes there comes back, as its predicted error says", _round_trips),
    Promise("A3", "log-determinants are autograd's, and cancel", _determinants),
    Promise("A4", "derivatives are finite and right", _gradients),
    Promise("A5", "the density integrates to one", _mass),
    Promise("A7", "parameters of zero are the identity, exactly", _identity),
    Promise("A9", "samples follow the density that they are given", _sampler),
    Promise("A10", "the Jacobian is exactly 0 where a layer declares it", _zeros),
    Promise("B2", "a hostile row disturbs no other row", _isolation),
    Promise("B3", "a row's answer does not depend on its batch", _batches),
    Promise("B4", "inputs are left as they were", _unmutated),
    Promise("C8", "torch's global state is left as it was", _untouched),
    Promise("D3", "a file gives back the same bits", _files),
    Promise("D6", "saving twice writes the same bytes", _bytes),
    Promise("E1", "precision in is precision out", _precision),
    Promise("E5", "torch.func and deepcopy go through", _functional),
    Promise("", "shapes and distributions are torch's", _shapes),
)


def spread(case: Case, turn: int = 0, *, whole: bool = True) -> Iterator[Variant]:
    """Yield every size of a case with every context, its precisions and gains taking turns.

    With ``whole=False`` sizes and contexts take turns too: each is met, and few meet each other;
    and they are brief (:class:`~diffeo.testing.Variant`).

    >>> from diffeo.testing import CASES
    >>> case = CASES["laws.Affine, coupling, halves"]
    >>> len(list(spread(case))), len(list(spread(case, whole=False)))
    (15, 5)
    """
    first = zlib.crc32(case.name.encode())  # so that cases do not all meet the same few
    met = {
        (case.sizes[(k + first) % len(case.sizes)], case.contexts[k % len(case.contexts)])
        for k in range(max(len(case.sizes), len(case.contexts)))
    }
    for k, v in enumerate(variants([case])):
        if not whole and (v.features, v.context) not in met:
            continue
        gain = GAINS[(k + turn) % len(GAINS)]
        dtype = DTYPES[(k // len(GAINS) + k + turn) % len(DTYPES)]
        yield Variant(case, v.features, v.context, dtype, gain, seed=turn, brief=not whole)


def keep(variant: Variant, figures: Sequence[str] | None = None) -> Iterator[Figure]:
    """Yield what a variant measures of each promise, or of the promises with these labels."""
    for promise in PROMISES:
        if figures is None or promise.figure in figures:
            yield from promise.measure(variant)


def broken_promises(
    case: Case, figures: Sequence[str] | None = None, turn: int = 0, *, whole: bool = True
) -> list[str]:
    """Return a line for each promise that a variant of ``case`` does not keep.

    A figure whose label stands in the case's ``expected_failures`` must fail in some variant of the whole
    spread: a known failure that has gone is a line too. Labels that no promise has are for other tests.
    """
    lines: list[str] = []
    measured = {promise.figure for promise in PROMISES}
    expected = dict.fromkeys((label for label in case.expected_failures if label in measured), False)
    for variant in spread(case, turn, whole=whole):
        for figure in keep(variant, figures):
            if figure.ok:
                continue
            if figure.figure in expected:
                expected[figure.figure] = True
                continue
            lines.append(
                f"{figure.figure} {figure.name}: {figure.failed} of {figure.tested} failed, worst "
                f"{figure.worst:.3g} (limit {figure.limit:.3g}) at {variant.name}. {figure.detail}"
            )
    asked = [label for label in expected if figures is None or label in figures]
    gone = [label for label in asked if whole and not expected[label]]
    return lines + [f"{label} no longer fails; take it from expected_failures" for label in gone]


def merged(figures: Iterable[Figure]) -> list[Figure]:
    """Return one figure for each label and name: tests and failures added up, the worst case kept.

    >>> [f.tested for f in merged([Figure("a", 0.0, 1.0, 2, 0), Figure("a", 0.5, 1.0, 3, 0)])]
    [5]
    """
    found: dict[tuple[str, str], Figure] = {}
    for figure in figures:
        key = (figure.figure, figure.name)
        old = found.get(key)
        if old is None:
            found[key] = figure
            continue
        worse = figure if not figure.worst <= old.worst else old
        found[key] = Figure(
            figure.name,
            worst=worse.worst,
            limit=max(old.limit, figure.limit),
            tested=old.tested + figure.tested,
            failed=old.failed + figure.failed,
            layer=worse.layer,
            detail=worse.detail,
            figure=figure.figure,
        )
    return [found[key] for key in sorted(found, key=_place)]


def _place(key: tuple[str, str]) -> tuple[str, int, str, str]:
    """Return where a label and a name stand on the page: A10 after A9."""
    label, name = key
    return label[:1], len(label), label, name
