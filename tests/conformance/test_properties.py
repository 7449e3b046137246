"""Whatever hypothesis finds: any case, size, context, precision, gain, seed, batch shape, edge."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffeo.bijections.rounding import predicted_error
from diffeo.diagnostics import checks
from diffeo.diagnostics.checks.determinant import LIMITS
from diffeo.testing.strategies import any_variant, data_rows

QUICK = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@QUICK
@given(st.data())
def test_round_trips_are_as_good_as_predicted_and_determinants_cancel(data):
    variant = data.draw(any_variant())
    x, context = data.draw(data_rows(variant))
    figures = [
        checks.round_trip_against_prediction(variant.bijection, x, context, inverse=True),
        checks.inputs_not_mutated(variant.flow, x, context),
    ]
    known = variant.case.expected_failures  # what a case says it misses, which the contract holds it to
    assert all(figure.ok or figure.figure in known for figure in figures), figures
    cancel = checks.log_dets_cancel(variant.bijection, x, context, inverse=True)
    assert cancel.ok or cancel.figure in known or not brought_back(variant, x, context), cancel


def brought_back(variant, x, context):
    """Whether every row is one that its precision brings back, as the contract asks of determinants."""
    with torch.no_grad():
        z = variant.flow.encode(x, context)
    error = predicted_error(variant.bijection, x.expand_as(z), context, inverse=True)
    return bool((error < LIMITS[variant.dtype] / 10).all())


@QUICK
@given(st.data())
def test_shapes_follow_batch_and_context(data):
    variant = data.draw(any_variant())
    x, context = data.draw(data_rows(variant))
    flow = variant.flow
    batch = x.shape[: x.ndim - len(variant.shape)]
    log_prob = flow.log_prob(x, context)
    assert log_prob.shape == batch
    assert log_prob.dtype == variant.dtype
    z = flow.encode(x, context)
    assert z.shape == x.shape
    assert flow.decode(z, context).shape == x.shape
    wide = torch.Size() if context is None else context.shape[:-1]
    samples, density = flow.sample_and_log_prob((2,), context)
    assert samples.shape == (2, *wide, *variant.shape)
    assert density.shape == (2, *wide)
