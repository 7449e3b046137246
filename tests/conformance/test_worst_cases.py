"""Worst cases that were found once, and must never come back."""

import torch

from diffeo.diagnostics import checks
from diffeo.testing import CASES, Variant


def test_cancellation_inside_a_conditioner_is_in_the_error_bar():
    # A hidden layer of ±10⁴ sums to a shift of 55: no number outside the network tells.
    variant = Variant(CASES["bijections.Standardize, robust"], 2, gain=16.0, seed=1692070462)
    z, _ = variant.side(False)
    figure = checks.round_trip_against_prediction(variant.bijection, z)
    assert figure.ok, figure
    assert figure.worst > 0.1  # nor is the bar blown up until nothing can fail


def test_mass_between_two_floating_numbers_is_not_judged():
    # Every draw is the last number inside the box.
    variant = Variant(CASES["flows.RealNVP, Logit"], 1, "shared", gain=16.0)
    assert checks.mass(variant.flow, variant.given).tested == 0
    assert checks.sampler_matches_density(variant.flow, variant.given).tested == 0


def test_a_sigmoid_rounds_alike_in_every_batch():
    variant = Variant(CASES["bijections.Logit, α = 0.05"], 43)
    z, _ = variant.side(False)
    assert checks.batch_invariance(variant.bijection, z, inverse=False).worst == 0.0


def test_a_wrapped_normal_rounds_alike_in_every_batch():
    for seed in range(3):
        variant = Variant(CASES["distributions.Wrapped, full normal"], 43, gain=2.0, seed=seed)
        assert checks.batch_invariance(variant.flow, variant.x).worst == 0.0


def test_the_edge_of_a_support_does_not_fool_the_quadrature():
    # A density like √x at the edge of its support: two rules of quadrature were off by the same.
    figure = checks.mass(Variant(CASES["distributions.Wrapped, beta"], 1, dtype=torch.float64).flow)
    assert figure.ok, figure
    assert figure.worst < 1e-6
